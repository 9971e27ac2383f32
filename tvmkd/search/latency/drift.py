"""The drift of a machine, by a fixed network that is timed again and again.

A board that becomes warm, or a host on which something else runs, is slower than an hour ago. The
fixed network says by how much: what was measured beside it is divided by that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tvmkd.tuning.canary import host

DISTURBED = 1.08
"""Time of the fixed network over its usual one from which something else must have run."""
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
    """How much slower than usual a board was at a time: the weighted median of readings near it.

    Readings count less the further away they are (a Gaussian of `REACH`). The median, because what
    disturbs a machine for seconds says nothing about the next minute. 1 where there are none within
    three times that.
    """
    usual = standard(readings, board)
    if usual is None:
        return 1.0
    near = [each for each in readings if same(each.board, board) and abs(each.t - t) <= 3 * REACH]
    if not near:
        return 1.0
    near.sort(key=lambda each: each.seconds)
    weights = np.cumsum(np.exp([-0.5 * ((each.t - t) / REACH) ** 2 for each in near]))
    middle = near[int(np.searchsorted(weights, 0.5 * weights[-1]))]
    return middle.seconds / usual


@dataclass(frozen=True)
class Slowdown:
    """What a machine was slower by while something was timed.

    Attributes:
        lasting: its drift: what slows everything down, as heat does.
        passing: beside that. What disturbs a machine for a while slows some networks down by as
            much as the fixed one, and others not at all.
    """

    lasting: float = 1.0
    passing: float = 1.0

    @property
    def disturbed(self) -> bool:
        """Whether something else ran, and not just the readings differed."""
        return self.passing > DISTURBED

    @property
    def expected(self) -> float:
        """What a network beside it was slower by: if it was disturbed, half of that."""
        return self.lasting * (math.sqrt(self.passing) if self.disturbed else self.passing)

    @property
    def certain(self) -> float:
        """What a network beside it was slower by at least."""
        return self.lasting * (1.0 if self.disturbed else self.passing)

    @property
    def doubt(self) -> float:
        """The standard error of the logarithm of `expected`."""
        return 0.5 * abs(math.log(self.passing))


def slowdown(readings: Sequence[Reading], t: float, fixed: float, board: str | None) -> Slowdown:
    """What the fixed network beside a measurement says.

    Args:
        readings: all that are known, later ones too.
        t: when, seconds since the epoch.
        fixed: seconds that it took; 0: it was not timed.
        board: where.
    """
    usual = standard(readings, board)
    if usual is None or not fixed:
        return Slowdown()
    lasting = factor(readings, t, board)
    return Slowdown(lasting, fixed / usual / lasting)


def same(first: str | None, second: str | None) -> bool:
    """Whether two readings are of one board; its server gets a new port each time."""
    return host(first) == host(second)
