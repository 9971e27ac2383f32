"""From the beginnings and ends of a virtual machine's calls to a table of kernels."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BETWEEN = "(between kernels)"
"""The row of what is no kernel: the virtual machine, its memory, and the caller."""

GETTER = "tvmkd_constant"
"""The library's function that gives the tensor of a large constant by its number."""

_BUILTIN = "vm.builtin."
_CALLS_A_KERNEL = "vm.builtin.call_tir_dyn"  # of a size that is known when it runs


@dataclass(frozen=True)
class Mark:
    """One call of an instrument: what is called, and whether it begins or has ended."""

    symbol: str
    begins: bool


def is_kernel(symbol: str) -> bool:
    """Whether the virtual machine's call is one of a kernel, or of a region in another engine."""
    return symbol == _CALLS_A_KERNEL or not (symbol.startswith(_BUILTIN) or symbol == GETTER)


def spans(marks: Sequence[Mark], ticks: Sequence[int]) -> list[tuple[str, int, int]]:
    """Kernel, beginning and end of each call of a kernel, in the order of their beginnings.

    Args:
        marks: of one run.
        ticks: the time of each of them.

    Raises:
        ValueError: the numbers differ: the runs take different ways through the model.
    """
    found: list[tuple[str, int, int]] = []
    opened: list[tuple[int, int]] = []  # the place in ``found`` or -1, and the beginning
    for mark, tick in zip(marks, ticks, strict=True):
        if mark.begins:
            opened.append((len(found) if is_kernel(mark.symbol) else -1, tick))
            if is_kernel(mark.symbol):
                found.append((mark.symbol, tick, tick))
        else:
            place, begin = opened.pop()
            if place >= 0:
                found[place] = (mark.symbol, begin, tick)
    return found


def rows(
    runs: Sequence[Sequence[tuple[str, int, int]]],
    begins: Sequence[int],
    plain: Sequence[float],
) -> list[dict[str, Any]]:
    """A row a kernel and one of the rest, which add up to the time of a run without a timer.

    Args:
        runs: `spans` of each timed run, in ns.
        begins: when each of them began.
        plain: seconds of each run without a timer.

    Returns:
        slowest first: ``kernel``, ``calls``, ``us`` (the sum of its calls' medians), ``share``,
        ``places`` (in the sequence of calls), ``each_us`` and ``starts_us`` (the median time of
        each call, and when it begins). The row `BETWEEN` also has ``run_us``, the median run. If
        the kernels alone take longer than that, its time is 0 and the shares are of their sum.
    """
    count = len(runs[0])
    each = [
        statistics.median((run[at][2] - run[at][1]) / 1e3 for run in runs) for at in range(count)
    ]
    starts = [
        statistics.median(
            (run[at][1] - begin) / 1e3 for run, begin in zip(runs, begins, strict=True)
        )
        for at in range(count)
    ]
    places: dict[str, list[int]] = defaultdict(list)
    for at, (symbol, _, _) in enumerate(runs[0]):
        places[symbol].append(at)
    whole = statistics.median(plain) * 1e6
    total = max(whole, sum(each))
    found = [
        {
            "kernel": symbol,
            "calls": len(at),
            "us": sum(each[place] for place in at),
            "share": sum(each[place] for place in at) / total,
            "places": at,
            "each_us": [each[place] for place in at],
            "starts_us": [starts[place] for place in at],
        }
        for symbol, at in places.items()
    ]
    rest = total - sum(each)
    found.append(
        {
            "kernel": BETWEEN,
            "calls": 1,
            "us": rest,
            "share": rest / total,
            "places": [],
            "run_us": whole,
        }
    )
    return sorted(found, key=lambda row: -float(row["us"]))
