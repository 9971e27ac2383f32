from __future__ import annotations

import math

import pytest
import torch

from tvmkd.distill.logit_losses.mse import MSE

STUDENT = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
TEACHER = torch.tensor([[1.0, -2.0, 0.0], [1.0, 1.0, 4.0]])
LABELS = torch.tensor([0, 1])


def test_mse_by_hand() -> None:
    """Squares of (1, 2, 0) and (0, 0, 3): 14 in 6 logits; the student guesses among 3 classes."""
    found = MSE(alpha=0.25)(STUDENT, TEACHER, LABELS)
    assert float(found) == pytest.approx(0.25 * math.log(3) + 0.75 * 14 / 6, rel=1e-6)


def test_the_mean_is_over_the_classes_of_each_image() -> None:
    assert MSE().soft(STUDENT, TEACHER, LABELS).tolist() == pytest.approx([5 / 3, 3.0])
    found = MSE(alpha=0.0)(STUDENT, TEACHER, LABELS, weights=torch.tensor([2.0, 0.0]))
    assert float(found) == pytest.approx(5 / 3)


def test_a_constant_added_to_all_logits_counts() -> None:
    found = MSE(alpha=0.0)(TEACHER + 2, TEACHER, LABELS)
    assert float(found) == pytest.approx(4.0)


def test_without_values_the_teacher_has_nine_tenths() -> None:
    hard, soft = MSE().parts(STUDENT, TEACHER, LABELS)
    assert float(hard) == pytest.approx(0.1 * math.log(3), rel=1e-6)
    assert float(soft) == pytest.approx(0.9 * 14 / 6, rel=1e-6)
