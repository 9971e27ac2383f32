from __future__ import annotations

import numpy as np
import pytest

from tvmkd.deploy.board_learner.step import gradient_of, loss_of, softmax


@pytest.mark.parametrize("old", [3, 5])
def test_the_gradient_is_that_of_the_loss(old: int) -> None:
    """Against central differences, in float64."""
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=(5, 4)), rng.normal(size=5)
    rows, labels = rng.normal(size=(6, 4)), rng.integers(0, 5, 6)
    soft = softmax(rng.normal(size=(6, old)) * 2)
    rest = (rows, labels, soft, 2.0, 0.7)
    found = gradient_of(weights, bias, *rest)
    for place, values in enumerate((weights, bias)):
        for at in np.ndindex(values.shape):
            sides = []
            for change in (1e-5, -1e-5):
                moved = [weights.copy(), bias.copy()]
                moved[place][at] += change
                sides.append(loss_of(*moved, *rest))
            assert found[place][at] == pytest.approx((sides[0] - sides[1]) / 2e-5, abs=1e-8)


def test_the_loss_by_hand() -> None:
    """Two classes, logits 0 and 2, label 0; the old head gives both the same."""
    weights, bias = np.array([[0.0], [2.0]]), np.zeros(2)
    given = (weights, bias, np.ones((1, 1)), np.array([0]), np.array([[0.5, 0.5]]), 2.0, 3.0)
    hard = np.log(1 + np.exp(2))
    ours = 1 / (1 + np.exp(1))  # softmax of (0, 2) / 2
    apart = 0.5 * np.log(0.5 / ours) + 0.5 * np.log(0.5 / (1 - ours))
    assert loss_of(*given) == pytest.approx(hard + 3 * 4 * apart)
    assert loss_of(*given[:-1], 0.0) == pytest.approx(hard)


def test_softmax_of_large_logits() -> None:
    assert softmax(np.array([[1e4, 0.0]], np.float32)).tolist() == [[1, 0]]
