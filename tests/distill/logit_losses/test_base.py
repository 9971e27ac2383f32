"""What every loss with a teacher keeps to."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tvmkd.base.errors import InputError
from tvmkd.distill.logit_losses.base import others
from tvmkd.distill.losses import (
    DIST,
    DKD,
    KD,
    MLKD,
    MSE,
    NKD,
    REGISTERED,
    SoftLoss,
    Standardized,
)

PLAIN = [KD(), DKD(), DIST(), MLKD(), NKD(), MSE()]
LOSSES = [*PLAIN, Standardized(KD()), Standardized(MLKD()), Standardized(DIST())]


def named(loss: SoftLoss) -> str:
    """The same in each process that collects the tests."""
    inner = getattr(loss, "loss", loss)
    return f"{type(inner).__name__}{'' if inner is loss else '-standardized'}"


every = pytest.mark.parametrize("loss", LOSSES, ids=named)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(6, 5, generator=generator) for _ in range(2))
    return student, teacher, torch.tensor([0, 1, 2, 3, 4, 0])


def test_each_registered_loss_is_tried_here() -> None:
    assert {type(loss) for loss in PLAIN} == set(REGISTERED.values())


@every
def test_gradients_are_those_of_finite_differences(loss: SoftLoss, batch) -> None:
    student, teacher, labels = batch
    double = student.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss.soft(x, teacher.double(), labels), double)


def gradient(loss: SoftLoss, student, teacher, labels) -> tuple[torch.Tensor, torch.Tensor]:
    student = student.clone().requires_grad_()
    value = loss(student, teacher, labels)
    (found,) = torch.autograd.grad(value, student)
    return value, found


@every
@pytest.mark.parametrize("scale", [1e-4, 50.0, 1e4])
def test_sure_and_unsure_networks_have_finite_gradients(loss: SoftLoss, batch, scale) -> None:
    student, teacher, labels = batch
    for pair in ((student * scale, teacher * scale), (student * scale, teacher)):
        value, found = gradient(loss, *pair, labels)
        assert torch.isfinite(value)
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("kind", [KD, DKD, DIST, NKD])
@pytest.mark.parametrize("standardized", [False, True])
def test_a_temperature_of_a_twentieth_is_finite(kind, standardized, batch) -> None:
    student, teacher, labels = batch
    loss = kind(temperature=0.05)
    loss = Standardized(loss) if standardized else loss
    value, found = gradient(loss, student * 20, teacher * 20, labels)
    assert torch.isfinite(value)
    assert torch.isfinite(found).all()
    assert found.abs().max() > 0


@every
def test_equal_logits_have_a_finite_gradient(loss: SoftLoss, batch) -> None:
    """A spread of zero: the value is finite, and the slope of a root there is not."""
    student, teacher, labels = batch
    zeros = torch.zeros_like(student)
    for pair in ((zeros, teacher), (student, zeros), (zeros, zeros)):
        assert all(torch.isfinite(part).all() for part in gradient(loss, *pair, labels))


@every
def test_a_batch_of_one_image_is_enough(loss: SoftLoss, batch) -> None:
    value, found = gradient(loss, *(part[:1] for part in batch))
    assert torch.isfinite(value)
    assert torch.isfinite(found).all()
    assert found.abs().max() > 0


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_fp32(loss: SoftLoss, batch, dtype) -> None:
    student, teacher, labels = (
        part.to(dtype) if part.is_floating_point() else part for part in batch
    )
    wanted = loss(student.float(), teacher.float(), labels)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(student, teacher, labels)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(wanted), rel=1e-6)


@every
def test_the_parts_add_up_and_labels_have_alpha(loss: SoftLoss, batch) -> None:
    student, teacher, labels = batch
    hard, soft = loss.parts(student, teacher, labels)
    torch.testing.assert_close(hard + soft, loss(student, teacher, labels))
    torch.testing.assert_close(hard, loss.alpha * F.cross_entropy(student, labels))
    torch.testing.assert_close(soft, (1 - loss.alpha) * loss.distance(student, teacher, labels))


@pytest.mark.parametrize(
    "loss", [KD(), DKD(), NKD(), MSE(), Standardized(KD()), DIST(gamma=0.0)], ids=named
)
def test_weights_choose_among_the_images(loss: SoftLoss, batch) -> None:
    student, teacher, labels = batch
    weights = torch.tensor([6.0, 0, 0, 0, 0, 0])
    alone = loss(student[:1], teacher[:1], labels[:1])
    torch.testing.assert_close(loss(student, teacher, labels, weights=weights), alone)


@every
def test_even_weights_are_none(loss: SoftLoss, batch) -> None:
    even = loss(*batch, weights=torch.ones(6))
    torch.testing.assert_close(even, loss(*batch))


@pytest.mark.parametrize(
    "loss", [KD(), DKD(), DIST(), MLKD(), MSE(), Standardized(MLKD())], ids=named
)
def test_a_student_that_answers_as_its_teacher_costs_nothing_soft(loss: SoftLoss, batch) -> None:
    _, teacher, labels = batch
    assert abs(float(loss.distance(teacher, teacher, labels))) < 1e-4


@every
def test_the_teacher_learns_nothing(loss: SoftLoss, batch) -> None:
    student, teacher, labels = batch
    teacher.requires_grad_()
    loss(student.requires_grad_(), teacher, labels).backward()
    assert teacher.grad is None


def test_other_classes_than_the_teachers_are_told(batch) -> None:
    student, teacher, labels = batch
    with pytest.raises(InputError, match=r"student gives .*\[6, 5\], its teacher \[6, 4\]"):
        KD()(student, teacher[:, :4], labels)


def test_the_others_leave_out_the_true_class() -> None:
    logits = torch.arange(8.0).reshape(2, 4)
    assert others(logits, torch.tensor([0, 2])).tolist() == [[1, 2, 3], [4, 5, 7]]
