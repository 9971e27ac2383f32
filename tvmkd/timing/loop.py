"""The timed loop. Nothing here imports more than the standard library."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter_ns
from typing import Any

Call = Callable[[], Any]
Times = Callable[[Call, int, "int | None"], list[int]]
"""Nanoseconds of each of so many calls, within a limit in nanoseconds: `time_calls`."""

STABLE_BLOCKS = 4
STABLE_SPREAD = 0.03
BLOCK_NS = 50_000_000


def time_calls(call: Call, count: int, limit_ns: int | None = None) -> list[int]:
    """Nanoseconds of each of ``count`` calls, one after the other.

    Ends early, after the call in hand, once ``limit_ns`` have passed: on a machine that others
    keep busy a call may take a hundred times what the warm-up said.

    Two clock readings stand between one call and the next and nothing else: results go into a list
    that exists already, and the garbage collector waits. Dropping the call's result counts as part
    of the call, since a user pays for it too.
    """
    times = [0] * count
    limit = sys.maxsize if limit_ns is None else limit_ns
    clock = perf_counter_ns
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    begin = clock()
    try:
        for i in range(count):
            start = clock()
            call()
            end = clock()
            times[i] = end - start
            if end - begin > limit:
                return times[: i + 1]
    finally:
        if collecting:
            gc.enable()
    return times


def lead_in(call: Call, at_least_ns: int, calls: int = 2) -> int:
    """Calls that are not measured, to bring caches and threads back; returns how many."""
    done = 0
    start = perf_counter_ns()
    while done < calls or perf_counter_ns() - start < at_least_ns:
        call()
        done += 1
    return done


def warm_up(call: Call, limit_s: float, times_of: Times | None = None) -> dict[str, Any]:
    """Calls until it is stable: the medians of the last four blocks lie within 3% of each other.

    A block is about 50 ms of calls, and at least three.

    Args:
        call: what will be measured.
        limit_s: when to give up; the answer then says ``"stable": False``.
        times_of: how calls are timed (None: `time_calls`).

    Returns:
        ``{"first_ms", "calls", "seconds", "stable", "spread", "call_seconds"}``, where ``spread``
        is (slowest - fastest) / fastest of the last blocks and ``call_seconds`` the last block's
        median.
    """
    begin = perf_counter_ns()
    times_of = times_of or time_calls
    first = times_of(call, 1, None)[0]
    medians: list[float] = []
    calls = 1
    estimate = float(first)
    while True:
        size = max(3, min(10_000, int(BLOCK_NS / max(estimate, 1.0))))
        left = int(limit_s * 1e9) - (perf_counter_ns() - begin)
        times = times_of(call, size, max(left, 0))
        estimate = float(median(times))
        calls += len(times)
        medians.append(estimate)
        recent = medians[-STABLE_BLOCKS:]
        spread = (max(recent) - min(recent)) / max(min(recent), 1.0)
        stable = len(recent) == STABLE_BLOCKS and spread <= STABLE_SPREAD
        seconds = (perf_counter_ns() - begin) / 1e9
        if stable or seconds >= limit_s:
            return {
                "first_ms": first / 1e6,
                "calls": calls,
                "seconds": seconds,
                "stable": stable,
                "spread": spread,
                "call_seconds": estimate / 1e9,
            }
