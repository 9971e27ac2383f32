"""Where the time of an epoch goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

DATA = "data"
FORWARD = "forward"
STEP = "step"
TRAIN = "train"
EVALUATION = "evaluation"
CHECKPOINT = "checkpoint"
OTHER = "other"
Lap = Callable[[str], None]
"""Called at the end of a phase with its name."""

T = TypeVar("T")


class EpochClock:
    """Adds up the time of each phase: what has passed since the last lap belongs to the next one.

    Args:
        asynchronous: the device works behind the loop's back, as a GPU does. When a step's parts
            return there says nothing, so they are one phase, `TRAIN`; the sum over an epoch is
            right, because the loop looks at the device at its end. `DATA` is the time in which the
            loop waited, in which the device may still have worked.

    Attributes:
        seconds: by phase.
    """

    def __init__(self, asynchronous: bool = False) -> None:
        self._merged = (FORWARD, STEP) if asynchronous else ()
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Ends a phase."""
        now = time.perf_counter()
        phase = TRAIN if phase in self._merged else phase
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def waiting(self, coming: Iterable[T]) -> Iterator[T]:
        """The items; the time until each of them is there is spent waiting for data."""
        for item in coming:
            self.lap(DATA)
            yield item

    @property
    def training(self) -> float:
        """Seconds of the steps, waiting for data included."""
        return sum(self.seconds.get(phase, 0.0) for phase in (DATA, FORWARD, STEP, TRAIN))
