"""A study with a point of each kind."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from tvmkd.search.results import Point, Study


def point(number: int, state: str = "complete", **values: Any) -> Point:
    return Point(number=number, structure={"width": 0.5 + number}, state=state, **values)


POINTS = [
    point(0, accuracy=0.912, predicted=2.0, measured=2.1, parameters=1234),
    point(1, accuracy=0.95, predicted=4.0, measured=4.2),
    point(2, accuracy=0.99, predicted=9.0, low=8.0, high=9.9),
    point(3, accuracy=0.5, predicted=5.0),
    point(4, "pruned", accuracy=0.4, predicted=1.0),
    point(5, "infeasible", predicted=99.0),
    point(6, "failed", error="NaN"),
]


def study(points: list[Point] = POINTS, **changes: Any) -> Study:
    values: dict[str, Any] = {
        "tvmkd_version": "1",
        "name": "toy",
        "method": "study",
        "objective": "accuracy",
        "target": "host",
        "unit": "ms",
        "budget": 5.0,
        "metric": "accuracy",
        "points": points,
        "winner": 1,
    }
    return Study(**{**values, **changes})


def text(renderable: Any, width: int = 120) -> str:
    screen = Console(file=io.StringIO(), width=width)
    screen.print(renderable)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()
