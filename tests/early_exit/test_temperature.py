from __future__ import annotations

import numpy as np
import pytest

from tvmkd.base.errors import InputError
from tvmkd.early_exit.temperature import LARGEST, SMALLEST, calibration_error, fit

COUNT = 4000


def drawn(temperature: float, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that are drawn from their softmax at a temperature."""
    rng = np.random.default_rng(0)
    logits = (rng.standard_normal((COUNT, classes)) * 4).astype(np.float32)
    noise = rng.gumbel(size=logits.shape)  # the largest is a draw from the softmax
    return logits, (logits / temperature + noise).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_temperature_that_labels_were_drawn_with_is_found(temperature: float) -> None:
    logits, labels = drawn(temperature)
    found = fit(logits, labels)
    assert found == pytest.approx(temperature, rel=0.06)
    before, after = calibration_error(logits, labels), calibration_error(logits, labels, found)
    assert after < 0.03
    assert temperature == 1 or before > after + 0.03


def test_no_temperature_has_a_smaller_loss() -> None:
    logits, labels = drawn(2.0)

    def loss(temperature: float) -> float:
        wide = logits / np.float64(temperature)
        wide -= np.log(np.exp(wide).sum(axis=1, keepdims=True))
        smoothed = np.full(wide.shape, 1 / (COUNT + 2) / wide.shape[1])
        smoothed[np.arange(COUNT), labels] += 1 - 1 / (COUNT + 2)
        return float(-(smoothed * wide).sum(axis=1).mean())

    best = fit(logits, labels)
    assert loss(best) < min(loss(best * 0.99), loss(best * 1.01), loss(1.0))


def test_an_exit_that_is_always_right_keeps_the_order_of_its_images() -> None:
    """Without smoothing the temperature would fall to the limit, and all confidences become 1."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    logits = (np.eye(4)[labels] * rng.uniform(1, 9, (300, 1))).astype(np.float32)
    found = fit(logits, labels)
    assert 0.05 < found < 1
    wide = logits.astype(np.float64)
    confidences = 1 / np.exp((wide - wide.max(axis=1, keepdims=True)) / found).sum(axis=1)
    assert len(np.unique(confidences)) > 290


def test_an_exit_that_knows_nothing() -> None:
    labels = np.arange(30) % 3
    assert fit(np.zeros((30, 3), np.float32), labels) == 1.0
    wrong = np.eye(3, dtype=np.float32)[(labels + 1) % 3] * 50
    assert 1 < fit(wrong, labels) <= LARGEST * (1 + 1e-9)
    assert SMALLEST < 1


def test_values_that_are_not_finite_are_one_line() -> None:
    logits = np.array([[1.0, np.nan], [0.0, 1.0]], np.float32)
    with pytest.raises(InputError, match="not finite on the validation split; train again"):
        fit(logits, np.array([0, 1]))


def test_the_calibration_error_by_hand() -> None:
    # Four images with confidence 0.9, three of them right: 0.15 too sure.
    logits = np.log(np.array([[0.9, 0.1]] * 4))
    assert calibration_error(logits, np.array([0, 0, 0, 1])) == pytest.approx(0.15)
    # Four others with 0.6, all right: 0.4 too unsure. Those with 1 are in the last bin.
    more = np.concatenate([logits, np.log(np.array([[0.4, 0.6]] * 4)), [[0.0, 900.0]] * 2])
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 1])
    assert calibration_error(more, labels) == pytest.approx(0.4 * 0.15 + 0.4 * 0.4)
    # The softmax of log 81 and 0, divided by 2, is 0.9 and 0.1.
    assert calibration_error(2 * logits, np.array([0, 0, 0, 1]), 2.0) == pytest.approx(0.15)
