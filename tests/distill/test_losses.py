from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tvmkd.distill import losses


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(6, 5, requires_grad=True), torch.randn(6, 5), torch.randint(5, (6,))


def test_kd_is_hintons_formula(batch):
    student, teacher, labels = batch
    found = losses.KD(0.3, 2.0)(student, teacher, labels)
    p = torch.softmax(teacher / 2, 1)
    kl = (p * (p.log() - torch.softmax(student / 2, 1).log())).sum(1).mean()
    hard = -torch.log_softmax(student, 1)[torch.arange(6), labels].mean()
    torch.testing.assert_close(found, 0.3 * hard + 0.7 * 4 * kl)


def test_kd_with_alpha_one_is_the_labels_alone(batch):
    student, teacher, labels = batch
    found = losses.KD(1.0, 4.0)(student, teacher, labels)
    torch.testing.assert_close(found, F.cross_entropy(student, labels))


def test_dkd_parts_add_up_to_kd(batch):
    """KL = TCKD + (1 - p_true) · NCKD: with one image, beta = 1 - p_true gives kd."""
    student, teacher, labels = (part[:1] for part in batch)
    hot = 1 - torch.softmax(teacher / 3, 1)[0, labels[0]].item()
    by_parts = losses.DKD(0.2, hot, 3.0)(student, teacher, labels)
    whole = losses.KD(0.2, 3.0)(student, teacher, labels)
    torch.testing.assert_close(by_parts, whole)


@pytest.mark.parametrize("scale", [1.0, 50.0, 500.0])
def test_gradients_are_finite_for_sure_teachers(batch, scale):
    student, teacher, labels = batch
    for loss in (
        losses.KD(0.1, 4.0)(student * scale, teacher * scale, labels),
        losses.DKD(0.1, 8.0, 4.0)(student * scale, teacher * scale, labels),
    ):
        (gradient,) = torch.autograd.grad(loss, student)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


def test_a_student_that_answers_as_its_teacher_costs_nothing_soft(batch):
    _, teacher, labels = batch
    for soft in (
        losses.KD(0.0, 4.0)(teacher, teacher, labels),
        losses.DKD(0.0, 8.0, 4.0)(teacher, teacher, labels),
    ):
        assert abs(float(soft)) < 1e-5


@pytest.mark.parametrize("loss", [losses.KD(0.3, 2.0), losses.DKD(0.3, 2.0, 2.0)])
def test_weights_choose_among_the_images(batch, loss):
    student, teacher, labels = batch
    weights = torch.tensor([6.0, 0, 0, 0, 0, 0])
    alone = loss(student[:1], teacher[:1], labels[:1])
    torch.testing.assert_close(loss(student, teacher, labels, weights=weights), alone)
    even = loss(student, teacher, labels, weights=torch.ones(6))
    torch.testing.assert_close(even, loss(student, teacher, labels))
