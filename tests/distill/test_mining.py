from __future__ import annotations

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


def test_they_are_one_in_the_mean() -> None:
    torch.manual_seed(0)
    found = mining.weights(torch.randn(32, 7) * 3, torch.randn(32, 7) * 3, 4.0)
    assert float(found.mean()) == pytest.approx(1.0)
    assert float(found.min()) > 0
    assert float(found.max()) <= 5.0


def test_no_strength_weighs_all_alike() -> None:
    assert weigh([SURE, UNSURE], [UNSURE, SURE], 0.0) == [1.0, 1.0]


def test_no_gradient_flows_through_them() -> None:
    student = torch.randn(4, 3, requires_grad=True)
    assert not mining.weights(student, torch.randn(4, 3), 1.0).requires_grad
