from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from tvmkd.distill.logit_losses.mlkd import MLKD

P = torch.tensor([[0.5, 0.5], [0.8, 0.2]])
Q = torch.tensor([[0.9, 0.1], [0.5, 0.5]])
LABELS = torch.tensor([0, 1])
KL = [
    0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5),
    0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2),
]
# P Pᵀ = [[0.50, 0.50], [0.50, 0.68]], Q Qᵀ = [[0.82, 0.50], [0.50, 0.50]]
BATCH = (0.32**2 + 0.18**2) / 2
# Pᵀ P = [[0.89, 0.41], [0.41, 0.29]], Qᵀ Q = [[1.06, 0.34], [0.34, 0.26]]
CLASS = (0.17**2 + 2 * 0.07**2 + 0.03**2) / 2


def test_mlkd_by_hand() -> None:
    found = MLKD(alpha=0.0, temperatures=(1.0,))(P.log(), Q.log(), LABELS)
    assert float(found) == pytest.approx(sum(KL) / 2 + BATCH + CLASS, rel=1e-4)


def test_the_matrices_are_not_scaled_by_the_temperature() -> None:
    found = MLKD(alpha=0.0, temperatures=(2.0,))(2 * P.log(), 2 * Q.log(), LABELS)
    assert float(found) == pytest.approx(4 * sum(KL) / 2 + BATCH + CLASS, rel=1e-4)


def test_temperatures_add_up_and_labels_count_once() -> None:
    args = (P.log(), Q.log(), LABELS)
    one, two = (MLKD(0.0, (heat,))(*args) for heat in (1.0, 3.0))
    hard = -(math.log(0.5) + math.log(0.2)) / 2
    wanted = 0.25 * hard + 0.75 * float(one + two)
    assert float(MLKD(0.25, (1.0, 3.0))(*args)) == pytest.approx(wanted, rel=1e-4)


def test_the_number_of_classes_divides_the_matrix_of_classes() -> None:
    """Three classes of which neither network answers the third: KL and batch stay as they are."""
    far = torch.full((2, 1), -1e4)
    pair = (torch.cat([each.log(), far], 1) for each in (P, Q))
    found = MLKD(alpha=0.0, temperatures=(1.0,))(*pair, LABELS)
    assert float(found) == pytest.approx(sum(KL) / 2 + BATCH + CLASS * 2 / 3, rel=1e-4)


@pytest.mark.parametrize("temperatures", [(), (0.0,), (4.0, -1.0)])
def test_temperatures_are_positive(temperatures) -> None:
    with pytest.raises(ValidationError):
        MLKD(temperatures=temperatures)
