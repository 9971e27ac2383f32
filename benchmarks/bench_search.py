#!/usr/bin/env python
"""Search: the latency table, the networks found, the supernet, structure and schedule together.

    python benchmarks/bench_search.py --part table --json /tmp/search.json

The parts:

- ``table``: 40 random networks of three spaces, predicted against measured; MACs beside.
- ``kernels``: kernels of that table (without one, of the shipped records) left out and
  interpolated; MACs and the cost model beside.
- ``embedded``: on the digits, with three seeds, the network found against the hand-made students'
  best and against a search on MACs.
- ``workers``: four workers on one study against one, trainings replaced by a declared delay.
- ``joint``: structure and schedule together, against a search that tunes last and one on MACs.
- ``supernet``: accuracies of its parts against those of networks trained one by one.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from _common import Result, finish, parser

PARTS = ("table", "kernels", "embedded", "workers", "joint", "supernet")


def main() -> int:
    """Runs the parts that were asked for."""
    options = parser(__doc__ or "")
    options.add_argument("--part", action="append", choices=PARTS, help="default: all")
    options.add_argument("--work", type=Path, help="a folder that is kept")
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="tvmkd-bench-") as temporary:
        work = args.work or Path(temporary)
        for part in args.part or PARTS:
            if part == "table":
                from _search_table import accuracy

                results += accuracy(work / "table", args.seed)
            elif part == "kernels":
                from _search_kernels import results as kernels

                results += kernels(work / "table" / "table")
            elif part == "embedded":
                from _search_embedded import results as embedded

                results += embedded(work / "embedded")
            elif part == "workers":
                from _search_workers import speedup

                times = speedup()
                results.append(Result("four workers' trials over one's", times, 3.5, "higher"))
            elif part == "joint":
                from _search_joint import results as joint

                results += joint(work / "joint")
            elif part == "supernet":
                from _search_supernet import correlation

                results += correlation(work / "supernet", args.seed)
    return finish(results, args.json)


if __name__ == "__main__":
    sys.exit(main())
