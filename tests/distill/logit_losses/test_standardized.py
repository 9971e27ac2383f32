from __future__ import annotations

import math

import pytest
import torch

from tvmkd.distill.logit_losses.dist import DIST
from tvmkd.distill.logit_losses.kd import KD
from tvmkd.distill.logit_losses.standardized import Standardized, standardize


def test_z_scores_by_hand() -> None:
    found = standardize(torch.tensor([[0.0, 3.0, 6.0], [1.0, 1.0, 1.0]]))
    root = math.sqrt(1.5)  # 3 over the deviation, √6
    torch.testing.assert_close(found, torch.tensor([[-root, 0.0, root], [0.0, 0.0, 0.0]]))


def test_kd_on_z_scores_by_hand() -> None:
    """Two classes have z-scores of 1 and -1: at T = 2 the teacher's probability is 1/(1 + 1/e)."""
    student, teacher = torch.tensor([[-5.0, 7.0]]), torch.tensor([[3.0, 1.0]])
    q = 1 / (1 + math.exp(-1))
    kl = q * math.log(q / (1 - q)) + (1 - q) * math.log((1 - q) / q)
    found = Standardized(KD(0.0, 2.0))(student, teacher, torch.tensor([0]))
    assert float(found) == pytest.approx(4 * kl, rel=1e-4)


def test_the_size_of_logits_does_not_matter_but_to_the_labels() -> None:
    torch.manual_seed(0)
    teacher, labels = torch.randn(4, 5), torch.randint(5, (4,))
    loss = Standardized(KD(0.3, 2.0))
    hard, soft = loss.parts(0.1 * teacher + 7, teacher, labels)
    assert float(soft) == pytest.approx(0, abs=1e-6)
    logs = torch.log_softmax(0.1 * teacher, 1)
    torch.testing.assert_close(hard, -0.3 * logs[torch.arange(4), labels].mean())
    assert float(KD(0.3, 2.0).parts(0.1 * teacher + 7, teacher, labels)[1]) > 0.01


def test_it_has_the_batch_that_its_loss_needs() -> None:
    assert Standardized(DIST()).whole_batch
    assert not Standardized(KD()).whole_batch
