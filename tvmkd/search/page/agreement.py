"""How well predicted latencies agree with measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tvmkd.search.results import Point


@dataclass(frozen=True)
class Agreement:
    """Of networks that were predicted and measured.

    Attributes:
        count: how many.
        within_5, within_10: the share (0 to 1) whose prediction is at most 5 % or 10 % off the
            measured time.
        inside: the share whose measured time lies in the predicted interval; None where no
            interval is known.
        ratio: the median of measured over predicted.
        rank: Spearman's rank correlation; None for fewer than three networks, or equal ones.
    """

    count: int
    within_5: float
    within_10: float
    inside: float | None
    ratio: float
    rank: float | None


def both(points: Sequence[Point]) -> list[Point]:
    """The points with a predicted and a measured time, both above zero."""
    return [point for point in points if point.predicted and point.measured]


def judge(points: Sequence[Point]) -> Agreement | None:
    """The agreement over the points that have both times; None without any."""
    known = both(points)
    if not known:
        return None
    predicted = np.array([point.predicted for point in known], dtype=np.float64)
    measured = np.array([point.measured for point in known], dtype=np.float64)
    off = np.abs(predicted / measured - 1)
    inside = [
        point.low <= point.measured <= point.high
        for point in known
        if point.low is not None and point.high is not None and point.measured is not None
    ]
    return Agreement(
        len(known),
        float(np.mean(off <= 0.05)),
        float(np.mean(off <= 0.1)),
        sum(inside) / len(inside) if inside else None,
        float(np.median(measured / predicted)),
        rank_correlation(predicted, measured),
    )


def rank_correlation(ours: np.ndarray, theirs: np.ndarray) -> float | None:
    """Spearman's rank correlation of two arrays of shape (n,); ties share their mean rank."""
    # Not scipy.stats, because its import takes a second.
    if len(ours) < 3:
        return None
    left, right = _ranks(ours), _ranks(theirs)
    if not np.ptp(left) or not np.ptp(right):
        return None
    return float(np.corrcoef(left, right)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: np.ndarray = (last - (count - 1) / 2)[place]
    return ranks
