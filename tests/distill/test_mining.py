from __future__ import annotations

import math

import pytest
import torch

from tvmkd.distill import mining

SURE, UNSURE = [9.0, 0.0, 0.0], [0.0, 0.0, 0.0]


def weigh(student: list[list[float]], teacher: list[list[float]], strength: float = 2.0) -> list:
    return mining.weights(torch.tensor(student), torch.tensor(teacher), strength).tolist()


def test_far_from_a_sure_teacher_counts_most() -> None:
    wrong, right = [0.0, 9.0, 0.0], SURE
    far, near, unclear = weigh([wrong, right, wrong], [SURE, SURE, UNSURE])
    assert far > near == pytest.approx(unclear, rel=1e-2)


def test_the_weights_by_hand() -> None:
    """Sure and opposite: 1 + 2 · 1 · 1 = 3; unsure: 1; a mean of 2 divides both."""
    sure, opposite, unsure = [50.0, 0.0], [0.0, 50.0], [0.0, 0.0]
    assert weigh([opposite, opposite], [sure, unsure]) == pytest.approx([1.5, 0.5])
    # Half way off: the total variation of (1, 0) and (0.5, 0.5) is 0.5.
    assert weigh([unsure, sure], [sure, sure]) == pytest.approx([2 / 1.5, 1 / 1.5])


def test_the_weights_of_three_classes_by_hand() -> None:
    """An entropy of 1.5 ln 2 of at most ln 3, and a total variation of 1/6."""
    even = [0.0, 0.0, 0.0]
    peak = 1 - 1.5 * math.log(2) / math.log(3)
    hard, easy = weigh([even, even], [[math.log(2), 0.0, 0.0], even])
    assert hard / easy == pytest.approx(1 + 2 * peak / 6)


def test_no_strength_weighs_all_alike() -> None:
    assert weigh([SURE, UNSURE], [UNSURE, SURE], 0.0) == [1.0, 1.0]


def test_no_gradient_flows_through_them() -> None:
    student = torch.randn(4, 3, requires_grad=True)
    assert not mining.weights(student, torch.randn(4, 3), 1.0).requires_grad
