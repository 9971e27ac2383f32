"""The drift of a machine, by a fixed network that is timed again and again.

A board that becomes warm, or a host on which something else runs, is slower than an hour ago. The
fixed network says by how much: what was measured beside it is divided by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

REACH = 300.0
"""Seconds over which two readings say something about each other."""


@dataclass(frozen=True)
class Reading:
    """What the fixed network took.

    Attributes:
        t: when, seconds since the epoch.
        seconds: of one run.
        board: ``HOST:PORT``; None: unknown.
    """

    t: float
    seconds: float
    board: str | None = None


def standard(readings: Sequence[Reading], board: str | None) -> float | None:
    """What the fixed network takes on a board when nothing slows it down; None: never timed there.

    The lower quartile: whatever else happens on a machine only ever adds time.
    """
    found = [reading.seconds for reading in readings if same(reading.board, board)]
    return float(np.quantile(found, 0.25, method="lower")) if found else None


def least(readings: Sequence[Reading], board: str | None) -> float | None:
    """The least that the fixed network ever took on a board; None: never timed there."""
    return min((each.seconds for each in readings if same(each.board, board)), default=None)


def factor(readings: Sequence[Reading], t: float, board: str | None) -> float:
    """How much slower than usual a board was at a time: the mean of the readings near it.

    Readings count less the further away they are (a Gaussian of `REACH`). 1 where there are none
    within three times that.
    """
    usual = standard(readings, board)
    if usual is None:
        return 1.0
    near = [each for each in readings if same(each.board, board) and abs(each.t - t) <= 3 * REACH]
    if not near:
        return 1.0
    weights = np.exp([-0.5 * ((each.t - t) / REACH) ** 2 for each in near])
    return float(np.average([each.seconds for each in near], weights=weights)) / usual


def same(first: str | None, second: str | None) -> bool:
    """Whether two readings are of one board; its server gets a new port each time."""
    return (first or "").rpartition(":")[0] == (second or "").rpartition(":")[0]
