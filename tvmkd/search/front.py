"""Which of a search's networks no other beats in both accuracy and latency, and how good they are.

The score is called accuracy here; where a lower one is better, ``maximize`` is False.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tvmkd.search.results import Point, Study
from tvmkd.timing.stats import student_t

Values = Sequence[float] | np.ndarray

MARGIN = 0.1
"""How far beyond the worst values `reference` lies, as a share of their range."""


@dataclass(frozen=True)
class Mean:
    """A mean over seeds, with its 95 % interval; with one seed the interval is the value."""

    mean: float
    low: float
    high: float
    count: int


def usable(points: Sequence[Point]) -> list[Point]:
    """The complete points with a finite accuracy and a latency above zero."""
    return [
        point
        for point in points
        if point.state == "complete"
        and point.accuracy is not None
        and point.latency is not None
        and np.isfinite(point.accuracy)
        and np.isfinite(point.latency)
        and point.latency > 0
    ]


def nondominated(accuracy: Values, cost: Values, *, maximize: bool = True) -> np.ndarray:
    """Indices of the Pareto front, from cheap to costly; the first of equal points stands for all.

    Args:
        accuracy: shape (n,), a score of each point.
        cost: shape (n,), less is better: latency, MACs.
        maximize: whether a higher score is better.
    """
    score = _rising(accuracy, maximize)
    order = np.lexsort((-score, np.asarray(cost, dtype=np.float64)))
    if not len(order):
        return order
    before = np.concatenate(([-np.inf], np.maximum.accumulate(score[order])[:-1]))
    return order[score[order] > before]


def front(points: Sequence[Point], *, maximize: bool = True) -> list[Point]:
    """The usable points that no other beats in both, from fast to slow."""
    known = usable(points)
    kept = nondominated(
        [accuracy_of(p) for p in known], [latency_of(p) for p in known], maximize=maximize
    )
    return [known[index] for index in kept]


def front_by_macs(points: Sequence[Point], *, maximize: bool = True) -> list[Point]:
    """The front that a search on multiply-accumulates would have ended with, by rising MACs.

    Its points have latencies all the same: drawn in them, the front is no front any more.
    """
    known = [point for point in usable(points) if point.macs]
    kept = nondominated(
        [accuracy_of(p) for p in known], [p.macs or 0 for p in known], maximize=maximize
    )
    return [known[index] for index in kept]


def dominated(points: Sequence[Point], *, maximize: bool = True) -> int:
    """How many usable points are not on the front."""
    return len(usable(points)) - len(front(points, maximize=maximize))


def knee(points: Sequence[Point], *, maximize: bool = True) -> Point | None:
    """The point of the front beyond which accuracy costs most: farthest from the line of its ends.

    Satopaa et al., "Finding a 'Kneedle' in a Haystack" (2011), on axes scaled to the front's ends.
    Equally far ones: the more accurate.
    """
    line = front(points, maximize=maximize)
    if not line:
        return None
    gain = _scaled(_rising([accuracy_of(p) for p in line], maximize))
    loss = _scaled(np.array([latency_of(p) for p in line]))
    return line[int(np.lexsort((gain, np.round(gain - loss, 9)))[-1])]


def reference(accuracy: Values, latency: Values, *, maximize: bool = True) -> tuple[float, float]:
    """The point (accuracy, latency) against which volumes are taken: a little worse than the worst.

    Fronts can only be compared against the same reference: take it over the points of all of them,
    and write it down (`Study.reference`). The margin lets the front's ends count (Ishibuchi et al.,
    "How to Specify a Reference Point in Hypervolume Calculation", 2018).

    Raises:
        ValueError: there is no point.
    """
    score, cost = _rising(accuracy, maximize), np.asarray(latency, dtype=np.float64)
    if not len(score):
        raise ValueError("no points to take a reference from")
    worst = score.min() - MARGIN * (np.ptp(score) or abs(score.min()) or 1.0)
    slowest = cost.max() + MARGIN * (np.ptp(cost) or cost.max())
    return float(worst if maximize else -worst), float(slowest)


def hypervolume(
    accuracy: Values, latency: Values, against: tuple[float, float], *, maximize: bool = True
) -> float:
    """The area that the points dominate up to a reference point; exact, in accuracy × latency.

    Args:
        accuracy: shape (n,).
        latency: shape (n,).
        against: (accuracy, latency); points that are not better in both add nothing.
        maximize: whether a higher score is better.
    """
    score, cost = _rising(accuracy, maximize), np.asarray(latency, dtype=np.float64)
    floor, limit = against[0] if maximize else -against[0], against[1]
    inside = (score > floor) & (cost < limit)
    score, cost = score[inside], cost[inside]
    kept = nondominated(score, cost)
    if not len(kept):
        return 0.0
    heights = score[kept] - floor
    widths = np.diff(np.concatenate((cost[kept], [limit])))
    return float(np.dot(heights, widths))


def volume(study: Study) -> float | None:
    """A study's `hypervolume` against its own reference; None without one, or without points."""
    known = usable(study.points)
    if study.reference is None or not known:
        return None
    return hypervolume(
        [accuracy_of(p) for p in known],
        [latency_of(p) for p in known],
        study.reference,
        maximize=study.maximize,
    )


def mean_over_seeds(values: Values) -> Mean:
    """The mean of one value a seed, with Student's t interval of 95 %.

    For a comparison give the differences, seed by seed: what both sides share cancels out.

    Raises:
        ValueError: there is no value.
    """
    known = np.asarray(values, dtype=np.float64)
    if not len(known):
        raise ValueError("no values to take a mean of")
    mean = float(known.mean())
    if len(known) < 2:
        return Mean(mean, mean, mean, 1)
    half = float(student_t(len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return Mean(mean, mean - half, mean + half, len(known))


def accuracy_of(point: Point) -> float:
    """The accuracy of a usable point."""
    assert point.accuracy is not None
    return point.accuracy


def latency_of(point: Point) -> float:
    """The latency of a usable point, in the study's unit."""
    assert point.latency is not None
    return point.latency


def _rising(accuracy: Values, maximize: bool) -> np.ndarray:
    """The scores so that more is better."""
    score = np.asarray(accuracy, dtype=np.float64)
    return score if maximize else -score


def _scaled(values: np.ndarray) -> np.ndarray:
    """To 0..1; all 0 where they are equal."""
    scaled: np.ndarray = (values - values.min()) / (np.ptp(values) or 1.0)
    return scaled
