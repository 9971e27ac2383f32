from __future__ import annotations

import numpy as np
import pytest

from tvmkd.base.exits import NEVER
from tvmkd.early_exit import calibrate

LABELS = np.zeros(4, np.int64)


def logits(*of_true_class: float) -> np.ndarray:
    """Two classes: positive where the first, which is the true one, is preferred."""
    return np.array([[value, 0.0] for value in of_true_class], np.float32)


def test_confidence_is_the_largest_softmax_probability() -> None:
    found = calibrate.confidence(logits(0.0, np.log(3.0), -np.log(3.0), 200.0))
    assert found == pytest.approx([0.5, 0.75, 0.75, 1.0])


def test_an_image_leaves_at_the_first_exit_that_is_sure() -> None:
    first, second = np.array([0.9, 0.2, 0.2]), np.array([0.9, 0.9, 0.2])
    assert calibrate.leave([first, second], [0.5, 0.5]).tolist() == [0, 1, 2]


def test_what_is_sure_and_right_leaves_and_the_rest_goes_on() -> None:
    branch = logits(4.0, 3.0, -0.5, -0.2)  # right and sure twice, wrong and unsure twice
    found = calibrate.calibrate([branch, logits(1, 1, 1, 1)], LABELS, [1.0, 10.0], 0.0)
    assert found.rates == (0.5, 0.5)
    assert (found.accuracy, found.full_accuracy) == (1.0, 1.0)


def test_a_drop_that_is_allowed_is_used_to_save_more() -> None:
    branch = logits(4.0, 3.0, 2.0, -2.5)
    both = [branch, logits(1, 1, 1, 1)]
    strict = calibrate.calibrate(both, LABELS, [1.0, 10.0], 0.0)
    loose = calibrate.calibrate(both, LABELS, [1.0, 10.0], 0.25)
    assert (strict.accuracy, loose.accuracy) == (1.0, 0.75)
    assert strict.rates[0] < loose.rates[0] == 1.0


def test_images_are_judged_one_by_one_and_not_by_their_mean() -> None:
    # The mean confidence of this batch is high, and one of its images would be wrong.
    branch = logits(6.0, 6.0, 6.0, -1.0)
    found = calibrate.calibrate([branch, logits(1, 1, 1, 1)], LABELS, [1.0, 2.0], 0.0)
    assert found.rates == (0.75, 0.25)


def test_an_exit_that_is_surest_where_it_is_wrong_is_never_taken() -> None:
    branch = logits(-5.0, 0.1, 0.1, 0.1)
    found = calibrate.calibrate([branch, logits(1, 1, 1, 1)], LABELS, [1.0, 2.0], 0.0)
    assert found.rule.thresholds == (NEVER,)
    assert found.rates == (0.0, 1.0)


def test_luck_does_not_pay_for_what_is_lost() -> None:
    # The branch is right where the last exit is wrong, and wrong where it is right: as accurate.
    branch = logits(5.0, -3.0, 0.1, 0.1)
    found = calibrate.calibrate([branch, logits(-1, 1, 1, 1)], LABELS, [1.0, 2.0], 0.0)
    assert found.rates == (0.25, 0.75)
    assert found.accuracy == 1.0 > found.full_accuracy


def test_an_exit_that_costs_more_than_going_on_is_never_taken() -> None:
    sure = logits(5, 5, 5, 5)
    found = calibrate.calibrate([sure, sure], LABELS, [3.0, 2.0], 0.0)
    assert found.rates == (0.0, 1.0)


def test_two_exits_share_the_allowed_drop() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    truth = np.eye(3)[labels] * 3
    noisy = [(truth + rng.normal(0, scale, (200, 3))).astype(np.float32) for scale in (3, 2, 1)]
    found = calibrate.calibrate(noisy, labels, [1.0, 2.0, 4.0], 0.02)
    assert found.accuracy >= found.full_accuracy - 0.02
    assert min(found.rates[:2]) > 0
    assert sum(found.rates) == pytest.approx(1.0)


def test_temperatures_are_part_of_the_rule_and_of_what_it_does() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 200)
    truth = np.eye(3)[labels] * 3
    noisy = [(truth + rng.normal(0, scale, (200, 3))).astype(np.float32) for scale in (3, 1)]
    plain = calibrate.calibrate(noisy, labels, [1.0, 4.0], 0.02)
    ones = calibrate.calibrate(noisy, labels, [1.0, 4.0], 0.02, [1.0, 1.0])
    assert ones.rule.thresholds == plain.rule.thresholds, "bit for bit"
    scaled = calibrate.calibrate(noisy, labels, [1.0, 4.0], 0.02, [2.0, 1.0])
    assert scaled.rule.temperatures == (2.0, 1.0)
    assert scaled.rule.thresholds[0] < plain.rule.thresholds[0], "scaled confidences are smaller"
    assert scaled == calibrate.apply(noisy, labels, scaled.rule)
    taken = [scaled.rule.taken([first, last]) for first, last in zip(*noisy, strict=True)]
    assert taken == calibrate.leave_by(noisy, scaled.rule).tolist()
