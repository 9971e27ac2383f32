#!/usr/bin/env python
"""Tuning trials a minute on one emulated Jetson Nano: tvmkd against stock ``tune_relax``.

Like bench_trials.py, but the board's server runs under QEMU and the code is for a Cortex-A57. Stock
gets a cross-linker, because its default upload must be linked on the board. Everything else, except
the build timeout, is upstream's default.
"""

from __future__ import annotations

import functools
import sys

import bench_trials

from tvmkd import targets
from tvmkd.base.errors import MissingError
from tvmkd.boards import emulate

BAR = 3.0


def main() -> int:
    """Runs both alternately and compares."""
    options = bench_trials.arguments(__doc__ or "").parse_args()
    reason = emulate.why_not()
    if reason is not None:
        raise MissingError(reason)
    nano = targets.load("jetson-nano")
    fleet = functools.partial(emulate.emulated_fleet, nano, 1, "nano")
    return bench_trials.compare(options, nano.to_dict(), fleet, BAR)


if __name__ == "__main__":
    sys.exit(main())
