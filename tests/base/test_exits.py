from __future__ import annotations

import numpy as np
import pytest

from tvmkd.base.exits import NEVER, confident, exit_taken
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
    assert exit_taken([SURE, SURE], [0.9, 0.9]) == 0
    assert exit_taken([UNSURE, SURE], [0.9, 0.9]) == 1
    assert exit_taken([UNSURE, UNSURE], [0.9, 0.9]) == 2
    assert exit_taken([SURE, SURE], [NEVER, 0.9]) == 1


def test_it_is_the_rule_that_thresholds_are_calibrated_with() -> None:
    logits = np.random.default_rng(0).standard_normal((200, 10)).astype(np.float32)
    for threshold in np.quantile(confidence(logits), [0.1, 0.5, 0.9]):
        taken = [exit_taken([row], [threshold]) for row in logits]
        assert taken == leave([confidence(logits)], [threshold]).tolist()
