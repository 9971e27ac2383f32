"""When a board gets work and when it rests: after failures in a row, or when it is hot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_FAILURES = 3  # in a row, before a board has to rest
REST_SECONDS = 30.0  # the first time; each later rest is twice as long
LONGEST_REST = 600.0


@dataclass
class _State:
    failures: int = 0
    rests: int = 0
    until: float = 0.0
    refused: str | None = None


class Quarantine:
    """The failures and rests of each board, by its address. Thread-safe.

    A failure is a lost session or a measurement without an answer, unless the candidate is to
    blame. After three in a row the board rests for half a minute, and twice as long each time
    after that. One success resets both counts.

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
        """Counts a failure. Returns the seconds that the board must rest, None if it need not."""
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
        """Takes one failure back: the candidate was to blame."""
        with self._lock:
            state = self._of(address)
            state.failures = max(0, state.failures - 1)

    def succeeded(self, address: str) -> None:
        """Resets the board's failures and rests: it has measured something."""
        with self._lock:
            state = self._of(address)
            state.failures = state.rests = 0

    def refuse(self, address: str, reason: str) -> bool:
        """Excludes a board for good. True if it was not excluded yet."""
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
        """Seconds until the board may get work; infinite if it was refused."""
        with self._lock:
            state = self._of(address)
            return float("inf") if state.refused else max(0.0, state.until - self._clock())

    def too_hot(self, telemetry: Mapping[str, Any], *, resting: bool) -> bool:
        """True if a board must cool down first.

        Args:
            telemetry: the answer of ``tvmkd.board.telemetry``.
            resting: it is cooling already: it has to reach ``resume_celsius``.
        """
        if not self._thermal:
            return False
        celsius = telemetry.get("celsius")
        limit = self._thermal["resume_celsius" if resting else "pause_celsius"]
        if celsius is not None and celsius >= limit:
            return True
        return not resting and bool(telemetry.get("throttled"))
