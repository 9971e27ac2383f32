from __future__ import annotations

import math

import pytest
import torch

from tvmkd.distill.logit_losses.dkd import DKD
from tvmkd.distill.logit_losses.kd import KD


def test_dkd_by_hand() -> None:
    """Three classes: TCKD of the true class against the rest, NCKD between the other two."""
    student, teacher = torch.zeros(1, 3), torch.tensor([[2.0, 2.0, 0.0]])
    total = 2 * math.e + 1  # of the teacher's softmax at T = 2
    true = math.e / total
    tckd = true * math.log(true * 3) + (1 - true) * math.log((1 - true) * 3 / 2)
    one = math.e / (math.e + 1)
    nckd = one * math.log(one * 2) + (1 - one) * math.log((1 - one) * 2)
    found = DKD(0.25, 3.0, 2.0)(student, teacher, torch.tensor([0]))
    wanted = 0.25 * math.log(3) + 0.75 * 4 * (tckd + 3 * nckd)
    assert float(found) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("label", [0, 3, 4])
def test_its_parts_add_up_to_kd(label: int) -> None:
    """KL = TCKD + (1 - p_true) · NCKD: with one image, beta = 1 - p_true gives kd."""
    torch.manual_seed(label)
    student, teacher, labels = torch.randn(1, 5), torch.randn(1, 5), torch.tensor([label])
    hot = 1 - torch.softmax(teacher / 3, 1)[0, label].item()
    by_parts = DKD(0.2, hot, 3.0)(student, teacher, labels)
    torch.testing.assert_close(by_parts, KD(0.2, 3.0)(student, teacher, labels))


def test_a_true_class_far_above_the_others_is_left_out_of_them() -> None:
    """Subtracting a constant from its logit would leave it in, and no difference in the rest."""
    student, teacher = torch.tensor([[1e4, 0.0, 0.0]]), torch.tensor([[1e4, 1.0, 0.0]])
    q = math.e / (math.e + 1)
    nckd = q * math.log(2 * q) + (1 - q) * math.log(2 * (1 - q))
    found = DKD(0.0, 1.0, 1.0)(student, teacher, torch.tensor([0]))
    assert float(found) == pytest.approx(nckd, rel=1e-4)
