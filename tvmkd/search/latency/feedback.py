"""Whether a latency table still holds: times seen in production against its prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tvmkd.base.errors import InputError
from tvmkd.search.latency.prediction import Prediction
from tvmkd.timing.stats import median_ci

LEAST = 20
"""Fewer times say too little."""
BLOCKS = 20
"""Consecutive times are alike; so whole blocks of them are drawn anew for the interval."""
TOLERANCE = 0.05
"""A smaller deviation is no drift, however narrow the interval of the prediction is."""
LIMITS = (0.2, 5.0)
"""A ratio outside is no drift: the times are of something else."""


@dataclass(frozen=True)
class Trend:
    """How times change over the time that they were taken in.

    Attributes:
        hours: the length of that time.
        change: last over first, minus 1, of a straight line through the logarithms.
        low, high: its 95 % interval.
    """

    hours: float
    change: float
    low: float
    high: float

    @property
    def shows(self) -> bool:
        """Whether it is more than noise and more than `TOLERANCE`."""
        return (self.low > 0 or self.high < 0) and abs(self.change) > TOLERANCE


@dataclass(frozen=True)
class Verdict:
    """What production says of a prediction.

    Attributes:
        seen: the median time, seconds.
        predicted: the predicted time, seconds.
        ratio: ``seen / predicted``.
        low, high: its 95 % interval.
        allowed: the ratios that the prediction's own interval allows, at least 1 ± `TOLERANCE`.
        count: times that were seen.
        trend: the change over time; None without time stamps.
    """

    seen: float
    predicted: float
    ratio: float
    low: float
    high: float
    allowed: tuple[float, float]
    count: int
    trend: Trend | None = None

    @property
    def holds(self) -> bool:
        """Whether the prediction may be right: the two intervals meet."""
        return self.low <= self.allowed[1] and self.high >= self.allowed[0]

    @property
    def certain(self) -> bool:
        """Whether more times would not change the verdict."""
        inside = self.allowed[0] <= self.low and self.high <= self.allowed[1]
        return inside or not self.holds

    def lines(self, again: str) -> list[str]:
        """The verdict for people.

        Args:
            again: the command that measures the table again.
        """
        facts = (
            f"{self.count} times, median {1e3 * self.seen:.4g} ms; predicted "
            f"{1e3 * self.predicted:.4g} ms: ratio {self.ratio:.3f} (95% interval {self.low:.3f} "
            f"to {self.high:.3f}; the prediction allows {self.allowed[0]:.3f} to "
            f"{self.allowed[1]:.3f})"
        )
        if not self.holds:
            verdict = f"drifted by {self.ratio - 1:+.1%}: measure again with: {again}"
        elif self.certain:
            verdict = "holds"
        else:
            verdict = "holds as far as these times can tell: more of them would show it better"
        lines = [facts, verdict]
        if self.trend is not None:
            trend = self.trend
            lines.append(
                f"over {_span(trend.hours)}: {trend.change:+.1%} (95% interval {trend.low:+.1%} "
                f"to {trend.high:+.1%})"
                + ("; look for heat, a power mode, or other processes" if trend.shows else "")
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """As plain data; seconds and ratios."""
        return {**asdict(self), "holds": self.holds, "certain": self.certain}


def judge(
    seen: Sequence[float], prediction: Prediction, times: Sequence[float] | None = None
) -> Verdict:
    """Compares times of single calls with a prediction.

    Args:
        seen: seconds of each call, in the order in which they were taken.
        prediction: of the same network, as the table gives it now.
        times: when each was taken, seconds.

    Raises:
        InputError: there are fewer than `LEAST`, or the ratio is none of a drift.
    """
    values = np.asarray(seen, dtype=np.float64)
    _check(len(values))
    order = None if times is None else np.argsort(np.asarray(times), kind="stable")
    ordered = values if order is None else values[order]
    low, high = median_ci(np.array_split(ordered, min(BLOCKS, len(ordered) // 5)))
    trend = None
    if times is not None and order is not None:
        trend = _trend(ordered, np.asarray(times, dtype=np.float64)[order])
    return _verdict(float(np.median(values)), low, high, len(values), prediction, trend)


def judge_histogram(
    limits: Sequence[float],
    counts: Sequence[int],
    prediction: Prediction,
    median: float | None = None,
) -> Verdict:
    """Compares counted times with a prediction; they are known to their buckets only.

    Args:
        limits: edges of the buckets in seconds, one more than ``counts``, the last may be infinite.
        counts: times in each bucket.
        prediction: as for `judge`.
        median: the exact one, if it is known.

    Raises:
        InputError: as `judge`, or the median lies above the last finite limit.
    """
    total = int(sum(counts))
    _check(total)
    edges, below = np.asarray(limits, np.float64), np.cumsum(counts)
    half = 1.96 * math.sqrt(total) / 2
    first, middle, last = (int(np.searchsorted(below, rank)) for rank in _ranks(total, half))
    if math.isinf(edges[last + 1]):
        raise InputError(
            f"half of the times are above {1e3 * edges[-2]:.4g} ms, where they are not told apart: "
            "give times of single calls"
        )
    low, high = float(edges[first]), float(edges[last + 1])
    if median is None:
        before = below[middle - 1] if middle else 0
        share = (total / 2 - before) / counts[middle]
        median = float(edges[middle] + share * (edges[middle + 1] - edges[middle]))
    # A first bucket begins at zero, of which there is no ratio.
    return _verdict(median, max(low, 1e-12), high, total, prediction, None)


def _ranks(total: int, half: float) -> tuple[float, float, float]:
    return max(1.0, total / 2 - half), max(1.0, total / 2), min(float(total), total / 2 + half + 1)


def _span(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.3g} hours"
    return f"{60 * hours:.3g} minutes" if hours >= 1 / 60 else f"{3600 * hours:.3g} seconds"


def _check(count: int) -> None:
    if count < LEAST:
        raise InputError(f"{count} times were seen, and fewer than {LEAST} say too little")


def _verdict(
    median: float, low: float, high: float, count: int, prediction: Prediction, trend: Trend | None
) -> Verdict:
    predicted = prediction.seconds
    ratio = median / predicted
    if not LIMITS[0] <= ratio <= LIMITS[1]:
        raise InputError(
            f"the times seen are {ratio:.3g} times the prediction ({1e3 * median:.4g} and "
            f"{1e3 * predicted:.4g} ms): no drift does that; are they of this model, on this "
            "target, and in the unit that was meant?"
        )
    allowed = (
        min(prediction.low / predicted, 1 - TOLERANCE),
        max(prediction.high / predicted, 1 + TOLERANCE),
    )
    return Verdict(
        median, predicted, ratio, low / predicted, high / predicted, allowed, count, trend
    )


def _trend(values: np.ndarray, times: np.ndarray) -> Trend | None:
    """Theil and Sen's line through the medians of blocks: single slow calls do not bend it."""
    span = float(times[-1] - times[0])
    if span <= 0:
        return None
    from scipy.stats import theilslopes

    blocks = min(BLOCKS, len(values) // 5)
    heights = [math.log(np.median(part)) for part in np.array_split(values, blocks)]
    places = [float(np.mean(part)) for part in np.array_split(times, blocks)]
    if len(set(places)) < 3:
        return None
    slope, _, low, high = theilslopes(heights, places, 0.95)
    change, low, high = (math.expm1(each * span) for each in (slope, low, high))
    return Trend(span / 3600, change, low, high)
