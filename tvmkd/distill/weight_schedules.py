"""How much of something there is as a training goes on: from its progress, 0 to 1, to a factor."""

from __future__ import annotations

import math
from collections.abc import Callable

RAMP = 0.2  # share of the training over which a ramp rises

Schedule = Callable[[float], float]


def constant(progress: float) -> float:
    """All of it, always."""
    del progress
    return 1.0


def decay(progress: float) -> float:
    """A cosine from one to zero: features lead at first, the task has the last word."""
    return 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))


def ramp(progress: float) -> float:
    """A line from zero to one over the first fifth, then all of it."""
    return min(1.0, max(progress, 0.0) / RAMP)


SCHEDULES: dict[str, Schedule] = {"constant": constant, "decay": decay, "ramp": ramp}
