"""A clock that only calls move."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tvmkd.timing import loop


class FakeClock:
    """Stands in for `perf_counter_ns` in the timed loop."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def taking(self, *milliseconds: float) -> Callable[..., Any]:
        """A call that takes these times, one after the other and then the last for ever."""
        times: Iterable[float] = itertools.chain(milliseconds, itertools.repeat(milliseconds[-1]))
        pending = iter(times)

        def call(*_: Any) -> str:
            self.now += round(next(pending) * 1e6)
            return "result"

        return call


def plant(patch: pytest.MonkeyPatch) -> FakeClock:
    """Puts one into the timed loop."""
    clock = FakeClock()
    patch.setattr(loop, "perf_counter_ns", clock)
    return clock
