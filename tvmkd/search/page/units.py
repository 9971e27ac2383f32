"""Times in the unit in which they are read most easily."""

from __future__ import annotations

from tvmkd.search.front import usable
from tvmkd.search.results import Point, Study

SHORT = 0.2
"""Milliseconds: where all that matters is shorter, microseconds are shown."""


def readable(study: Study) -> Study:
    """The study in microseconds if its networks are that fast; otherwise as it is."""
    times = [point.latency for point in usable([*study.points, *study.baselines])]
    known = [time for time in (*times, study.budget) if time is not None]
    if study.unit != "ms" or not known or max(known) >= SHORT:
        return study
    accuracy, latency = study.reference or (0.0, 0.0)
    return study.model_copy(
        update={
            "unit": "µs",
            "budget": None if study.budget is None else round(1e3 * study.budget, 9),
            "reference": (accuracy, 1e3 * latency) if study.reference else None,
            "points": [_scaled(point) for point in study.points],
            "baselines": [_scaled(point) for point in study.baselines],
        }
    )


def _scaled(point: Point) -> Point:
    times = {name: getattr(point, name) for name in ("predicted", "low", "high", "measured")}
    return point.model_copy(
        update={name: 1e3 * time for name, time in times.items() if time is not None}
    )
