"""Where the axes of a study's plots begin and end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvmkd.report.svg import Scale

LOG_FROM = 10.0
"""A latency axis is logarithmic from this ratio of its ends on."""


def latency(values: Sequence[float], start: float, end: float) -> Scale:
    """The axis of latencies.

    Args:
        values: above zero, at least one.
        start, end: pixels.
    """
    least, most = min(values), max(values)
    if most > LOG_FROM * least:
        return Scale(least / 1.2, most * 1.2, start, end, log=True)
    # From zero where that does not squeeze everything against the end.
    low = 0.0 if least < 0.4 * most else least - max(0.2 * (most - least), 0.1 * least)
    return Scale(low, most + max(0.1 * (most - low), 0.1 * least), start, end)


def score(
    kept: Sequence[float],
    others: Sequence[float],
    start: float,
    end: float,
    *,
    maximize: bool,
    limits: tuple[float, float] | None,
) -> Scale:
    """The axis of scores. A few very bad networks do not squeeze the others together.

    Args:
        kept: scores that must be inside; at least one here or in ``others``.
        others: scores that are held at the edge where they are far worse than the rest.
        start, end: pixels of the lowest and the highest score.
        maximize: whether a higher score is better.
        limits: the least and the greatest score there can be.
    """
    everything = np.array([*kept, *others], dtype=np.float64)
    low, high = float(everything.min()), float(everything.max())
    if others:
        bad = float(np.quantile(np.array(others), 0.1 if maximize else 0.9))
        core = np.array([*kept, bad])
        core_low = min(float(core.min()), high) if maximize else low
        core_high = high if maximize else max(float(core.max()), low)
        if high - low > 2.5 * (core_high - core_low) > 0:
            low, high = core_low, core_high
    pad = 0.1 * (high - low) or 0.02 * abs(high) or 0.5
    low, high = low - pad, high + pad
    if limits is not None:
        low, high = max(low, limits[0]), min(high, limits[1])
    return Scale(low, high, start, end)
