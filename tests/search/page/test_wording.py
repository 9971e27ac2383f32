from __future__ import annotations

import math

import pytest
import studies
from studies import point

from tvmkd.search.page import wording
from tvmkd.search.page.wording import Wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (0.5, "0.500"),
        (4.119, "4.12"),
        (41.19, "41.2"),
        (411.9, "412"),
        (41234.4, "41234"),
        (2.5e-5, "2.5e-05"),
        (-4.119, "-4.12"),
        (math.inf, "inf"),
    ],
)
def test_three_digits(value: float, text: str) -> None:
    assert wording.significant(value) == text


def test_only_an_accuracy_is_a_percentage() -> None:
    words = Wording(studies.study())
    assert (words.score(0.975), words.shown(0.975), words.title) == ("97.5%", 97.5, "Accuracy")
    words = Wording(studies.study(metric="mAP"))
    assert (words.score(0.301), words.shown(0.301), words.title) == ("0.301", 0.301, "mAP")


def test_a_point_in_one_line() -> None:
    words = Wording(studies.study())
    made = point(0, 0.95, predicted=2.0, low=1.9, high=2.2, measured=2.1)
    assert words.summary(made) == "95.0%, 2.10 ms measured, 2.00 ms predicted (1.90 to 2.20)"
    assert words.summary(point(0, None, predicted=2.0)) == "2.00 ms predicted"


def test_structures_and_facts_are_read_by_people() -> None:
    structure = {
        "width": 0.5,
        "exits": ["a", "b"],
        "se": True,
        "none": None,
        "more": {"a": 1},
        "student.args.b": [[1, 2]],
    }
    text = "width 0.5, exits a, b, se yes, none none, more a 1, b [[1, 2]]"
    assert wording.structure(structure) == text


def test_a_baseline_is_called_by_its_name() -> None:
    assert wording.baseline_name(point(0, structure={"name": "small"})) == "small"
    named = point(0, structure={"model": "depthwise", "width": 0.5})
    assert wording.baseline_name(named) == "depthwise width 0.5"
    assert wording.baseline_name(point(0)) == "by hand"


def test_an_accuracy_in_percent_is_shown_as_it_is() -> None:
    """A user's metric may have that name and go to 100."""
    words = Wording(studies.study([point(0, 97.5)]))
    assert (words.score(97.5), words.shown(97.5)) == ("97.5", 97.5)
