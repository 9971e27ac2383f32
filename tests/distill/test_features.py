from __future__ import annotations

import pytest
import torch
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.distill import features


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def learn(loss: nn.Module, student: torch.Tensor, teacher: torch.Tensor, steps: int = 300) -> float:
    """The loss once its own weights and the student's feature have been trained."""
    student = student.clone().requires_grad_()
    optimizer = torch.optim.Adam([student, *loss.parameters()], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss(student, teacher)
        value.backward()
        optimizer.step()
    return float(value.detach())


@pytest.mark.parametrize(
    ("student", "teacher"),
    [((6, 9, 8, 8), (6, 4, 4, 4)), ((6, 9), (6, 5)), ((6, 7, 9), (6, 7, 5))],
)
def test_a_hint_can_be_followed(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    loss = features.make("hint", student, teacher)
    mine, other = torch.randn(student), torch.randn(teacher)
    before = loss(mine, other).item()
    assert learn(loss, mine, other) < 0.1 * before


def test_a_hint_is_the_mean_square_after_the_regressor() -> None:
    loss = features.make("hint", (2, 3), (2, 3))
    with torch.no_grad():
        loss.regressor.weight.copy_(torch.eye(3))
        loss.regressor.bias.zero_()
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    torch.testing.assert_close(loss(a, b), ((a - b) ** 2).mean())


def test_attention_looks_at_places_and_not_at_channels_or_scale() -> None:
    loss = features.make("attention", (2, 8, 6, 6), (2, 3, 6, 6))
    feature = torch.randn(2, 8, 6, 6)
    assert float(loss(feature, 5 * feature[:, torch.randperm(8)])) < 1e-10
    moved = torch.roll(feature, 3, dims=3)
    assert float(loss(feature, moved)) > 1e-2
    assert list(loss.parameters()) == []


def test_attention_averages_the_larger_image_down() -> None:
    loss = features.make("attention", (2, 8, 8, 8), (2, 3, 4, 4))
    assert loss(torch.randn(2, 8, 8, 8), torch.randn(2, 3, 4, 4)).ndim == 0


def test_contrast_wants_the_same_image_and_no_other() -> None:
    loss = features.make("contrastive", (16, 4, 3, 3), (16, 6))
    teacher = torch.randn(16, 6)
    student = torch.randn(16, 4, 3, 3)
    assert loss(student, teacher).item() > 1.0
    assert learn(loss, student, teacher) < 0.05
    wrong = teacher.roll(1, dims=0)
    trained = student.clone().requires_grad_()
    assert float(loss(trained, wrong).detach()) > 1.0


def test_contrast_of_one_image_is_nothing() -> None:
    loss = features.make("contrastive", (1, 4), (1, 6))
    assert loss(torch.randn(1, 4), torch.randn(1, 6)).item() == pytest.approx(0.0, abs=1e-6)


def test_self_attention_is_a_divergence_over_the_mean_of_the_heads() -> None:
    loss = features.make("self-attention", (2, 3, 5, 5), (2, 4, 5, 5))
    mine, other = torch.randn(2, 3, 5, 5).softmax(-1), torch.randn(2, 4, 5, 5).softmax(-1)
    p, q = other.mean(1), mine.mean(1)
    torch.testing.assert_close(loss(mine, other), (p * (p / q).log()).sum(-1).mean())
    assert float(loss(other, other[:, torch.randperm(4)])) == pytest.approx(0.0, abs=1e-6)


def test_self_attention_survives_probabilities_of_zero() -> None:
    loss = features.make("self-attention", (1, 1, 2, 2), (1, 1, 2, 2))
    sure = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    assert torch.isfinite(loss(sure.flip(-1).requires_grad_(), sure))


@pytest.mark.parametrize(
    ("kind", "student", "teacher", "message"),
    [
        ("hint", (1, 4, 8, 8), (1, 9), "same number of axes"),
        ("hint", (1, 7, 5), (1, 8, 5), "7 tokens in the student, 8 in the teacher"),
        ("attention", (1, 4), (1, 4), "same number of axes, 4"),
        ("self-attention", (1, 2, 4, 4), (1, 2, 9, 9), "use the same patches"),
        ("self-attention", (1, 2, 4, 5), (1, 2, 4, 5), "square"),
    ],
)
def test_shapes_that_do_not_suit_are_refused(
    kind: str, student: tuple[int, ...], teacher: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        features.make(kind, student, teacher)
