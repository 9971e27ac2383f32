from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.search import results
from tvmkd.search.results import Point, Study


def study(points: list[Point], budget: float | None = None) -> Study:
    return Study(
        tvmkd_version="1",
        name="s",
        method="study",
        objective="accuracy",
        target="host",
        unit="ms",
        metric="accuracy",
        budget=budget,
        points=points,
    )


def point(number: int, **known: object) -> Point:
    return Point.model_validate({"number": number, "structure": {}, "state": "complete", **known})


def test_a_measured_time_counts_before_a_predicted_one() -> None:
    assert point(0, predicted=2.0, measured=3.0).latency == 3.0
    assert point(0, predicted=2.0).latency == 2.0


def test_feasible_points_are_complete_and_at_most_at_the_budget() -> None:
    points = [
        point(0, predicted=5.0),
        point(1, predicted=5.1),
        point(2, predicted=1.0, state="pruned"),
        point(3),
    ]
    assert [each.number for each in study(points, 5.0).feasible()] == [0]
    assert [each.number for each in study(points).feasible()] == [0, 1]


def test_a_study_is_read_back(tmp_path: Path) -> None:
    made = study([point(0, predicted=1.5)])
    (tmp_path / results.STUDY).write_text(made.model_dump_json())
    assert results.read(tmp_path) == made
    assert results.read(tmp_path / results.STUDY) == made


def test_unreadable_studies(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give the folder of a search"):
        results.read(tmp_path)
    path = tmp_path / results.STUDY
    path.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        results.read(path)
    path.write_text(json.dumps({**study([]).model_dump(), "schema_version": 2}))
    with pytest.raises(InputError, match="schema 2; this tvmkd reads schema 1"):
        results.read(path)


def test_a_score_that_is_no_number_is_none() -> None:
    made = Point(number=0, structure={}, state="pruned", accuracy=math.nan, test_accuracy=math.inf)
    assert (made.accuracy, made.test_accuracy) == (None, None)
