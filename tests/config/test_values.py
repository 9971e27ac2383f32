from __future__ import annotations

import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from tvmkd.config.values import Values


@pytest.mark.parametrize(
    ("given", "listed"),
    [
        (["a", False, [1, 2]], ["a", False, [1, 2]]),
        ({"choices": [3, 5], "only": "depthwise"}, [3, 5]),
        ({"low": 0.1, "high": 0.4, "step": 0.1}, [0.1, 0.2, 0.3, 0.4]),
        ({"low": 1, "high": 3}, [1, 2, 3]),
        ({"low": 8, "high": 32, "step": 8}, [8, 16, 24, 32]),
        ({"low": 1, "high": 2, "step": 0.5}, [1.0, 1.5, 2.0]),
        ({"low": 2.0, "high": 2.0}, [2.0]),
        ({"low": 1, "high": 4, "log": True}, [1, 2, 3, 4]),
        ({"low": 0.5, "high": 1.5}, None),
        ({"low": 1, "high": 2, "channels": "efficient"}, None),
        ({"low": 1, "high": 10.0, "log": True}, None),
    ],
)
def test_the_values_in_order(given: Any, listed: list[Any] | None) -> None:
    values = Values.model_validate(given)
    found = values.listed()
    assert found == listed
    assert [type(value) for value in found or []] == [type(value) for value in listed or []]


def test_both_ends_stand_for_a_range() -> None:
    assert Values.model_validate({"low": 1, "high": 9}).samples() == [1, 9]
    assert Values.model_validate([4, 1]).samples() == [4, 1]


def test_what_it_writes_it_reads() -> None:
    values = Values.model_validate({"low": 0.5, "high": 1.5, "channels": "efficient"})
    assert Values.model_validate(values.model_dump(mode="json")) == values


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0.5, "wants a list of values, or a range"),
        ("abc", "wants a list of values, or a range"),
        ({}, "wants a list of values, or low and high"),
        ([], "the list is empty"),
        ([1, 1.0], "names 1.0 twice"),
        ([["a"], ["a"]], r"names \['a'\] twice"),
        ([datetime.date(2024, 1, 1)], "is no value of a parameter"),
        ([float("nan")], "nan is no value"),
        ({"low": 1}, "has no high; a range has low and high"),
        ({"high": 1}, "has no low"),
        ({"low": 2, "high": 1}, "low 2 is above high 1"),
        ({"low": 1e-12, "high": 1.0, "log": True}, "low 1e-12 is too small"),
        ({"low": 1, "high": 2, "step": 0}, "step 0 is not above 0"),
        ({"low": 1, "high": 2, "step": -0.5}, "step -0.5 is not above 0"),
        ({"low": 0.5, "high": 1.0, "step": 0.3}, "does not reach high 1; high = 0.8 fits"),
        ({"low": 0, "high": 1, "log": True}, "low 0 has no logarithm"),
        ({"low": 1, "high": 2, "step": 1, "log": True}, "has step and log"),
        ({"low": 0.0, "high": 1.0, "step": 1e-9}, "more than 100000 values"),
        ({"low": 0, "high": 10**9}, "more than 100000 values; give a step"),
        ({"low": 1.0, "high": float("inf")}, "wants a finite number"),
        ({"low": "1", "high": 2}, "valid integer"),
        ({"choices": [1], "step": 1}, "has choices, which go without step"),
        ({"low": 1.0, "high": 2.0, "step": 0.5, "channels": "efficient"}, "leave step"),
        ({"low": 1.0, "high": 2.0, "multiple": 2}, "multiple goes with channels"),
        ({"low": 1, "high": 2, "per_stage": 0}, "greater than or equal to 1"),
    ],
)
def test_what_is_no_parameter(given: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Values.model_validate(given)
