"""Reads the board's state once a second beside a stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tvmkd.boards.board_state import Telemetry
from tvmkd.boards.telemetry import read


@dataclass(frozen=True)
class Sample:
    """A reading.

    Attributes:
        at: ns of the monotonic clock.
        state: what the board told.
        throttled: whether it throttles, or did since the reading before; None if unknown.
    """

    at: int
    state: Telemetry
    throttled: bool | None


@dataclass
class Sampler:
    """Samples in a thread while the block runs. Use as a context manager.

    Args:
        every: seconds between two readings.
        source: reads the board.
    """

    every: float = 1.0
    source: Callable[[], Telemetry] = read
    samples: list[Sample] = field(default_factory=list)

    def __enter__(self) -> Sampler:
        self._stop = threading.Event()
        self._take()
        self._thread = threading.Thread(target=self._work, name="tvmkd-telemetry", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._take()

    def _work(self) -> None:
        while not self._stop.wait(self.every):
            self._take()

    def _take(self) -> None:
        state = self.source()
        before = self.samples[-1].state if self.samples else state
        sample = Sample(time.monotonic_ns(), state, state.throttled_since(before))
        self.samples.append(sample)
