from __future__ import annotations

import numpy as np
import pytest

from tvmkd.base import exits
from tvmkd.base.exits import CONFIDENCE, NEVER, Rule, confident
from tvmkd.early_exit.calibrate import confidence, leave

SURE, UNSURE = np.array([5.0, 0.0], np.float32), np.array([0.1, 0.0], np.float32)


def test_an_exit_is_taken_from_its_threshold_on() -> None:
    # Softmax of (log 3, 0) is (3/4, 1/4).
    logits = np.array([np.log(3.0), 0.0])
    assert confident(logits, 0.75)
    assert not confident(logits, 0.7501)
    assert confident(logits, 0.0)
    assert not confident(np.array([1000.0, 0.0]), NEVER)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_never_confident(bad: float) -> None:
    values = np.array([bad, 1.0, bad], np.float32)
    # Two times minus infinity leave one class.
    assert confident(values, 0.9) == (bad == -np.inf)


def test_the_first_confident_exit_counts() -> None:
    rule = Rule((0.9, 0.9))
    assert rule.taken([SURE, SURE]) == 0
    assert rule.taken([UNSURE, SURE]) == 1
    assert rule.taken([UNSURE, UNSURE]) == 2
    assert Rule((NEVER, 0.9)).taken([SURE, SURE]) == 1


def test_it_is_the_rule_that_thresholds_are_calibrated_with() -> None:
    logits = np.random.default_rng(0).standard_normal((200, 10)).astype(np.float32)
    for threshold in np.quantile(confidence(logits), [0.1, 0.5, 0.9]):
        taken = [Rule((threshold,)).taken([row]) for row in logits]
        assert taken == leave([confidence(logits)], [threshold]).tolist()


def test_a_temperature_divides_the_logits() -> None:
    # Softmax of (log 9, 0) / 2 is (3/4, 1/4).
    logits = np.array([np.log(9.0), 0.0])
    assert confident(logits, 0.7499, 2.0)
    assert not confident(logits, 0.7501, 2.0)
    assert confident(logits, 0.8999)
    assert Rule((0.8,)).taken([logits]) == 0
    assert Rule((0.8,), (2.0, 1.0)).taken([logits]) == 1


def test_a_temperature_of_one_changes_no_bit() -> None:
    """Decisions at thresholds that are confidences themselves depend on the last bit."""
    logits = np.random.default_rng(1).standard_normal((300, 7)).astype(np.float32) * 4
    for row, threshold in zip(logits, confidence(logits), strict=True):
        wide = row.astype(np.float64)
        before = bool(np.exp(wide - wide.max()).sum() * threshold <= 1.0)
        assert confident(row, threshold) == confident(row, threshold, 1.0) == before


def test_the_features_by_hand() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]]))
    found, chosen = exits.features(logits)
    half = (0.5 * np.log(2) + 0.5 * np.log(4)) / np.log(3)
    assert chosen.tolist() == [0, 0]
    assert found[0] == pytest.approx([0.5, 0.25, 1 - half, 0.0])
    assert found[1] == pytest.approx([1 / 3, 0.0, 0.0, 0.0])
    # Of the two exits before, both and one chose the same.
    found, _ = exits.features(logits, 1.0, [np.array([0, 1]), np.array([0, 0])])
    assert found[:, 3].tolist() == [1.0, 0.5]
    assert exits.score(found, [0.5, 0.25, 0.0, 0.25])[0] == pytest.approx(0.25 + 0.0625 + 0.25)


def test_features_of_values_that_are_no_numbers() -> None:
    rows = np.array([[np.nan, 1.0], [np.inf, 1.0], [-np.inf, -np.inf], [-np.inf, 1.0]])
    found, chosen = exits.features(rows)
    assert np.isnan(found[:3]).all()
    assert found[3].tolist() == [1.0, 1.0, 1.0, 0.0]
    assert chosen.tolist() == [-1, -1, -1, 1]
    # The only class of a network of one class is certain.
    assert exits.features(np.array([[3.0]]))[0].tolist() == [[1.0, 1.0, 1.0, 0.0]]


def test_a_score_takes_the_place_of_the_confidence() -> None:
    votes = Rule((NEVER, 0.75), (), (CONFIDENCE, (0.0, 0.0, 0.0, 1.0)))
    other = np.array([0.0, 5.0], np.float32)
    assert votes.taken([UNSURE, SURE]) == 1, "both choose the first class"
    assert votes.taken([UNSURE, other]) == 2
    assert votes.taken([np.array([np.nan, 0.0]), SURE]) == 2, "nothing was chosen"


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        (Rule((0.5,), (1.0, 2.0), (CONFIDENCE,)), None),
        (Rule((0.5,)), None),
        (Rule((2.5,)), "a threshold is not from 0 to 2"),
        (Rule((0.5,), (1.0,)), "1 temperatures for 2 exits"),
        (Rule((0.5,), (1.0, 0.0)), "a temperature is not above 0"),
        (Rule((0.5,), (1.0, float("nan"))), "a temperature is not above 0"),
        (Rule((0.5,), (), ((1.0,),)), "its weights are not 1 rows of 4"),
        (Rule((0.5,), (), ((2.0, -1.0, 0.0, 0.0),)), "the weights of an exit do not add up to 1"),
        (Rule((0.5,), (), ((float("nan"),) * 4,)), "the weights of an exit do not add up to 1"),
    ],
)
def test_what_is_wrong_with_a_rule(rule: Rule, wrong: str | None) -> None:
    assert exits.rule_error(rule) == wrong
    assert exits.rule_of({"thresholds": rule.thresholds, **rule.scaling}) == rule or wrong
