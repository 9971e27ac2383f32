"""Accuracy and measured latency of distilling, early exits, pruning and quantising, over seeds.

Each part trains its networks, so all parts together take hours on two cores; --part selects one.
Networks that an earlier call left in --out are not trained again. Latencies are measured after the
training of each part; keep the machine idle.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import _common

PARTS = ("classification", "detection", "early_exit", "prune", "quant")


def _result(found: dict[str, Any]) -> _common.Result:
    own = {"name", "ratio", "bar", "better", "ratios", "note"}
    details = {key: value for key, value in found.items() if key not in {*own, "holds"}}
    return _common.Result(
        **{key: value for key, value in found.items() if key in own}, details=details
    )


def main() -> int:
    """Measures the selected parts; returns 0 if every ratio is within its limit."""
    assert __doc__ is not None
    parser = _common.parser(__doc__)
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default 3)")
    parser.add_argument("--out", type=Path, help="keeps the trainings (default: a folder for now)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tvmkd-bench-") as folder:
        out = asked.out or Path(folder)
        results = []
        for part in asked.part or PARTS:
            print(f"{part}:", flush=True)
            module = importlib.import_module(f"_distill_{part}")
            results += [_result(found) for found in module.measure(out / part, range(asked.seeds))]
    return _common.finish(results, asked.json, seeds=asked.seeds)


if __name__ == "__main__":
    sys.exit(main())
