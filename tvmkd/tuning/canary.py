"""Whether something else disturbs a board: a small kernel on all cores, run between measurements.

Kernels on one core and kernels on all cores are not slowed down alike: what another process or the
host of a virtual machine does now and then doubles the time of the latter, for a tenth of a second
or for some seconds, and leaves the former as they are. The mean of a day says nothing about one
measurement; the canary does. It passes data from core to core. On a virtual machine with two cores
it took 8 us most of the time and 21 us in between, as a network of which some kernels ran on both
cores took 156 us and 400 us.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

DISTURBED = 1.3
"""The canary's time over its least on a board from which what is measured beside it is left out."""
WINDOWS = 4
"""Undisturbed series that a measurement needs."""
LONGEST = 2.0
"""Seconds that one measurement may wait for them."""
PATIENCE = 10.0
FACTOR = 5.0
"""What may be waited in all: so many seconds, and so many times what measuring has taken."""
REMEMBERED = 64
"""Measurements after which a board that stays slow is taken as it is."""
USUAL = 0.2
"""Seconds that a measurement takes which waits for nothing."""
FACT = "canary"
"""Its seconds, among the facts of a trial whose kernel uses threads."""


def host(board: str | None) -> str:
    """A board without its port: its server gets a new one each time."""
    return (board or "").rpartition(":")[0]


def usual(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The canary's least seconds on each board, by its `host`, from the lines of trials."""
    found: dict[str, float] = {}
    for line in lines:
        seconds = line.get(FACT)
        if isinstance(seconds, (int, float)) and seconds > 0:
            name = host(line.get("board"))
            found[name] = min(found.get(name, seconds), float(seconds))
    return found


def undisturbed(
    series: Callable[[], list[float]],
    canary: Callable[[], float],
    least: float | None,
    clock: Callable[[], float],
    patience: float,
    enough: Callable[[list[float]], bool] = lambda _: False,
) -> tuple[list[float], float]:
    """Measures in short series, and keeps those with an undisturbed canary before and after.

    Args:
        series: measures, for some hundredths of a second; seconds of each repeat.
        canary: its seconds now.
        least: the least that it took so far; None: it did not run.
        clock: seconds.
        patience: seconds that this may take.
        enough: whether one series says all.

    Returns:
        the repeats of the undisturbed series, at most `WINDOWS` of them, and the least of the
        canary; without any, those of the least disturbed one, and its canary.
    """
    begin, before = clock(), canary()
    least = before if least is None else min(least, before)
    found: list[tuple[float, list[float]]] = []
    while True:
        seconds, after = series(), canary()
        least = min(least, after)
        found.append((max(before, after), seconds))
        before = after
        calm = [each for worst, each in found if worst <= DISTURBED * least]
        if len(calm) >= WINDOWS or (calm and enough(calm[-1])) or clock() - begin > patience:
            break
    if calm:
        return [value for each in calm for value in each], least
    worst, seconds = min(found)
    return seconds, worst


class Patience:
    """How long measurements may still wait: it grows with what measuring takes.

    Args:
        seconds: at the start.
        factor: seconds more for each second of measuring.
    """

    def __init__(self, seconds: float, factor: float) -> None:
        self._left, self._factor = seconds, factor

    @property
    def left(self) -> float:
        """Seconds, at least 0."""
        return max(0.0, self._left)

    def measured(self, took: float, needed: float) -> None:
        """Counts a measurement that took so many seconds, of which some were not waited."""
        self._left += self._factor * needed - max(0.0, took - needed)


class Calm:
    """What the boards' canaries took, and how long measurements may still wait.

    Any thread may use it.

    Args:
        known: see `usual`, of earlier sessions.
    """

    def __init__(self, known: Mapping[str, float] | None = None) -> None:
        self._seen = {name: deque([least], REMEMBERED) for name, least in (known or {}).items()}
        self._lock = threading.Lock()
        self._patience = Patience(PATIENCE, FACTOR)

    def params(self, board: str) -> dict[str, float | None]:
        """``usual`` and ``patience`` of the next measurement on a board, ``HOST:PORT``."""
        with self._lock:
            least = min(self._seen.get(host(board), ()), default=None)
            return {"usual": least, "patience": min(LONGEST, self._patience.left)}

    def measured(self, board: str, seconds: float | None, wall: float) -> None:
        """Learns from a measurement.

        Args:
            board: where.
            seconds: the canary's; None: it did not run.
            wall: seconds that the measurement took.
        """
        with self._lock:
            self._patience.measured(wall, min(wall, USUAL))
            if seconds is not None:
                self._seen.setdefault(host(board), deque(maxlen=REMEMBERED)).append(seconds)
