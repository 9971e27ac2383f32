"""Whether the next part of a network would be done in time, judged by its last runs."""

from __future__ import annotations

from collections import deque

WINDOW = 16
FIRST_RETRY, LAST_RETRY = 32, 1024


class PartTime:
    """The time of one part: the longest of its last runs.

    A part that is skipped gives no new times, and one slow run must not rule it out for ever. So
    after some skips in a row it is tried again; each try that is too late doubles the number of
    skips before the next. Standalone libraries follow the same rule (``exits.c``).
    """

    def __init__(self) -> None:
        self._runs: deque[int] = deque(maxlen=WINDOW)
        self._skipped = 0
        self._retry = FIRST_RETRY
        self._trying = False

    @property
    def expected(self) -> int | None:
        """Nanoseconds; None before the first run."""
        return max(self._runs, default=None)

    def fits(self, left: int) -> bool:
        """Whether to run the part when ``left`` nanoseconds remain; counts a skip if not."""
        expected = self.expected
        self._trying = False
        if expected is None or expected <= left:
            return True
        if left <= 0:
            return False
        self._skipped += 1
        if self._skipped <= self._retry:
            return False
        self._trying = True
        return True

    def took(self, spent: int, left: int) -> None:
        """Takes the time of a run that `fits` has allowed with ``left`` nanoseconds."""
        self._skipped = 0
        if self._trying:
            late = spent > left
            self._retry = min(2 * self._retry, LAST_RETRY) if late else FIRST_RETRY
            if not late:
                self._runs.clear()
        self._runs.append(spent)
