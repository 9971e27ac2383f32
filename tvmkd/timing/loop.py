"""The timed loop. It imports the standard library only."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns
from typing import Any, TypeVar

T = TypeVar("T")
Call = Callable[[], Any]
Times = Callable[[Call, int, "int | None"], list[int]]
"""Nanoseconds of each of so many calls, within a limit in nanoseconds: `time_calls`."""

STABLE_BLOCKS = 4
STABLE_SPREAD = 0.03
BLOCK_NS = 50_000_000


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """Collects garbage once, then keeps the collector off while the block runs."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Milliseconds of one call, and its result."""
    start = perf_counter_ns()
    result = call()
    return (perf_counter_ns() - start) / 1e6, result


def time_calls(call: Call, count: int, limit_ns: int | None = None) -> list[int]:
    """Nanoseconds of each of ``count`` calls, one after the other.

    Stops after the current call if ``limit_ns`` have passed: on a busy machine a call may take a
    hundred times as long as in the warm-up.

    Between two calls the clock is read twice and nothing else happens: results go into a list that
    exists already, and the garbage collector is off. Dropping the call's result counts as part of
    the call, since a user pays for it too.
    """
    times = [0] * count
    limit = sys.maxsize if limit_ns is None else limit_ns
    clock = perf_counter_ns
    with collector_off():
        begin = clock()
        for i in range(count):
            start = clock()
            call()
            end = clock()
            times[i] = end - start
            if end - begin > limit:
                return times[: i + 1]
    return times


def lead_in(call: Call, at_least_ns: int, calls: int = 2) -> int:
    """Makes calls that are not timed, to warm caches and threads; returns how many."""
    done = 0
    start = perf_counter_ns()
    while done < calls or perf_counter_ns() - start < at_least_ns:
        call()
        done += 1
    return done


@dataclass(frozen=True)
class WarmUp:
    """What `warm_up` found.

    Attributes:
        first_ms: time of the first call.
        calls: how many it made.
        seconds: how long it took.
        stable: False if it ended at its limit.
        spread: (slowest - fastest) / fastest, of the medians of the last blocks.
        call_seconds: median of the last block.
    """

    first_ms: float
    calls: int
    seconds: float
    stable: bool
    spread: float
    call_seconds: float


def warm_up(call: Call, limit_s: float, times_of: Times | None = None) -> WarmUp:
    """Calls until times are stable: the medians of the last four blocks are within 3%.

    A block is about 50 ms of calls, and at least three.

    Args:
        call: what will be timed.
        limit_s: seconds after which it ends in any case.
        times_of: how calls are timed. None: by `time_calls`.
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
            return WarmUp(
                first_ms=first / 1e6,
                calls=calls,
                seconds=seconds,
                stable=stable,
                spread=spread,
                call_seconds=estimate / 1e9,
            )
