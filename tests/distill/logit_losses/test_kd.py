from __future__ import annotations

import math

import pytest
import torch

from tvmkd.distill.logit_losses.kd import KD


def test_kd_by_hand() -> None:
    """T = 2: softmaxes of (0, 0) and (1, 0); the labels with a weight of 0.25."""
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
    p = 1 / (1 + math.exp(-1.0))
    kl = p * math.log(p) + (1 - p) * math.log(1 - p) + math.log(2)
    found = KD(0.25, 2.0)(student, teacher, torch.tensor([0]))
    assert float(found) == pytest.approx(0.25 * math.log(2) + 0.75 * 4 * kl, rel=1e-4)


def test_kd_is_hintons_formula() -> None:
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(6, 5), torch.randn(6, 5), torch.randint(5, (6,))
    found = KD(0.3, 2.0)(student, teacher, labels)
    p = torch.softmax(teacher / 2, 1)
    kl = (p * (p.log() - torch.softmax(student / 2, 1).log())).sum(1).mean()
    hard = -torch.log_softmax(student, 1)[torch.arange(6), labels].mean()
    torch.testing.assert_close(found, 0.3 * hard + 0.7 * 4 * kl)
    torch.testing.assert_close(KD(1.0, 4.0)(student, teacher, labels), hard)
