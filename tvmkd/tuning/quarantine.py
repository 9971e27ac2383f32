"""When a board gets work and when it rests: failures in a row, heat. Knows no sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_FAILURES = 3  # in a row, after which a board is taken out
REST_SECONDS = 30.0  # for the first time; twice as long each time after it
LONGEST_REST = 600.0


@dataclass
class _State:
    failures: int = 0
    rests: int = 0
    until: float = 0.0
    refused: str | None = None


class Quarantine:
    """What is known of each board, by its address. Safe to use from several threads.

    A failure is a session that was lost or a measurement without an answer that turned out not to
    be the candidate's doing. Three in a row take a board out for half a minute, then for twice as
    long each time; one success makes it as good as new.

    Args:
        thermal: ``Target.thermal``: ``pause_celsius`` and ``resume_celsius``, or empty.
        clock: seconds; for tests.
    """

    def __init__(
        self, thermal: Mapping[str, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._thermal = dict(thermal)
        self._clock = clock
        self._states: dict[str, _State] = {}
        self._lock = threading.Lock()

    def _of(self, address: str) -> _State:
        return self._states.setdefault(address, _State())

    def failed(self, address: str) -> float | None:
        """Counts a failure. Returns for how many seconds the board is taken out, if it is."""
        with self._lock:
            state = self._of(address)
            state.failures += 1
            if state.failures < MOST_FAILURES:
                return None
            rest = min(LONGEST_REST, REST_SECONDS * float(2**state.rests))
            state.failures, state.rests = 0, state.rests + 1
            state.until = self._clock() + rest
            return rest

    def forgiven(self, address: str) -> None:
        """Takes one failure back: it was the candidate's."""
        with self._lock:
            state = self._of(address)
            state.failures = max(0, state.failures - 1)

    def succeeded(self, address: str) -> None:
        """A measurement came back: the board is sound."""
        with self._lock:
            state = self._of(address)
            state.failures = state.rests = 0

    def refuse(self, address: str, reason: str) -> bool:
        """Marks a board as one that must not be used. True if that is news."""
        with self._lock:
            state = self._of(address)
            news = state.refused is None
            state.refused = reason
            return news

    def refusals(self) -> list[str]:
        """Why boards were refused."""
        with self._lock:
            return [state.refused for state in self._states.values() if state.refused]

    def rest(self, address: str) -> float:
        """For how many seconds the board must get no work; infinite where it is refused."""
        with self._lock:
            state = self._of(address)
            return float("inf") if state.refused else max(0.0, state.until - self._clock())

    def too_hot(self, telemetry: Mapping[str, Any], *, resting: bool) -> bool:
        """Whether a board must cool down first.

        Args:
            telemetry: what ``tvmkd.board.telemetry`` answers.
            resting: it rests already, and goes on until ``resume_celsius``.
        """
        if not self._thermal:
            return False
        celsius = telemetry.get("celsius")
        limit = self._thermal["resume_celsius" if resting else "pause_celsius"]
        if celsius is not None and celsius >= limit:
            return True
        return not resting and bool(telemetry.get("throttled"))
