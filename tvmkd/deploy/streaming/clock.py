"""Waits for points in time of CLOCK_MONOTONIC, so that a schedule never drifts."""

from __future__ import annotations

import ctypes
import sys
import time
from typing import Protocol

CLOCK_MONOTONIC = 1
TIMER_ABSTIME = 1
PR_SET_TIMERSLACK = 29
SLACK_NS = 1  # the kernel may otherwise wake this thread 50 us late to save power


class Clock(Protocol):
    """Nanoseconds, and waiting for one of them."""

    def now(self) -> int:
        """Nanoseconds since some fixed point."""

    def wait_until(self, when: int) -> None:
        """Returns at ``when`` or after it; earlier if a signal arrives."""


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class MonotonicClock:
    """The machine's clock. Waits with ``clock_nanosleep`` until an absolute time."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self._sleep = getattr(library, "clock_nanosleep", None)
        self._place = _Timespec()
        self._pointer = ctypes.byref(self._place)
        if sys.platform == "linux":
            library.prctl(PR_SET_TIMERSLACK, SLACK_NS)

    def now(self) -> int:
        """See `Clock`."""
        return time.monotonic_ns()

    def wait_until(self, when: int) -> None:
        """See `Clock`."""
        if self._sleep is None:
            time.sleep(max(0, when - self.now()) / 1e9)
            return
        self._place.tv_sec, self._place.tv_nsec = divmod(when, 1_000_000_000)
        self._sleep(CLOCK_MONOTONIC, TIMER_ABSTIME, self._pointer, None)
