from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tvmkd.distill.distributed import ALONE
from tvmkd.distill.dot import DOT
from tvmkd.distill.optimizer import Optimizer, groups, schedule
from tvmkd.distill.training import Momentum, Settings

SETTINGS = Settings(epochs=1, lr=0.1, weight_decay=0.0, batch_size=2, seed=0)


def test_the_learning_rate_rises_and_falls():
    rates = [schedule(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == 1.0
    assert rates.index(1.0) == 4
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_biases_and_norms_are_not_decayed():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    decayed, free = groups(list(model.parameters()), 0.5)
    assert [weight.ndim for weight in decayed["params"]] == [4]
    assert decayed["weight_decay"] == 0.5
    assert [weight.ndim for weight in free["params"]] == [1, 1, 1]
    assert free["weight_decay"] == 0.0


def weight() -> nn.Parameter:
    return nn.Parameter(torch.tensor([3.0, 4.0]))


def test_a_step_is_that_of_adamw_with_the_rate_of_its_number():
    mine, other = weight(), weight()
    optimizer = Optimizer([mine], SETTINGS, 100, ALONE)
    plain = torch.optim.AdamW([other], lr=0.1, weight_decay=0.0)
    for step in range(3):
        value, norm = optimizer.step(mine.square().sum(), step)
        assert norm.item() == pytest.approx(2 * math.sqrt(value.item()))
        plain.param_groups[0]["lr"] = 0.1 * schedule(step, 100)
        plain.zero_grad()
        other.square().sum().backward()
        plain.step()
    torch.testing.assert_close(mine, other)


@pytest.mark.parametrize(
    ("clip", "gradient"), [(None, [6.0, 8.0]), (5.0, [3.0, 4.0]), (20.0, [6.0, 8.0])]
)
def test_gradients_are_clipped_by_their_norm(clip, gradient):
    own = weight()
    _, norm = Optimizer([own], SETTINGS, 10, ALONE, clip).step(own.square().sum(), 0)
    assert norm.item() == pytest.approx(10.0)
    torch.testing.assert_close(own.grad, torch.tensor(gradient), atol=1e-4, rtol=1e-4)


def infinite_gradient(own: torch.Tensor) -> torch.Tensor:
    """A finite loss whose gradient is not: the slope of a root at 0."""
    return (own[0] - own[0].detach()).sqrt() + own.sum()


@pytest.mark.parametrize(
    "loss", [lambda own: own.sum() * math.nan, lambda own: own.sum() * math.inf, infinite_gradient]
)
def test_a_step_that_is_not_finite_moves_no_weight(loss):
    own = weight()
    optimizer = Optimizer([own], SETTINGS, 10, ALONE, 10.0)
    value, norm = optimizer.step(loss(own), 0)
    assert not (math.isfinite(value.item()) and math.isfinite(norm.item()))
    assert own.tolist() == [3.0, 4.0]
    assert not optimizer.state_dict()["state"]


def test_it_resumes_from_the_state_of_a_plain_adamw():
    """Checkpoints of earlier versions, whose AdamW was not fused."""
    mine, other = weight(), weight()
    plain = torch.optim.AdamW([{"params": [], "weight_decay": 0.0}, {"params": [other]}], lr=0.1)
    other.sum().backward()
    plain.step()
    optimizer = Optimizer([mine], SETTINGS, 10, ALONE)
    optimizer.load_state_dict(plain.state_dict())
    assert optimizer.state_dict()["state"][0]["step"].item() == 1
    optimizer.step(mine.sum(), 5)
    assert optimizer.state_dict()["state"][0]["step"].item() == 2


SGD = replace(SETTINGS, sgd=Momentum(0.5))
TWO = replace(SETTINGS, sgd=Momentum(0.5, 0.25))


def test_sgd_is_torchs_with_momentum_and_resumes():
    mine, other = weight(), weight()
    optimizer = Optimizer([mine], SGD, 100, ALONE)
    plain = torch.optim.SGD([other], lr=0.1, momentum=0.5)
    for step in range(4):
        if step == 2:
            state = optimizer.state_dict()
            optimizer = Optimizer([mine], SGD, 100, ALONE)
            optimizer.load_state_dict(state)
        optimizer.step(mine.square().sum(), step)
        plain.param_groups[0]["lr"] = 0.1 * schedule(step, 100)
        plain.zero_grad()
        other.square().sum().backward()
        plain.step()
    torch.testing.assert_close(mine, other)


def test_dot_is_for_losses_in_two_parts():
    assert Optimizer([weight()], TWO, 10, ALONE, divided=True).divided
    assert not Optimizer([weight()], TWO, 10, ALONE).divided
    assert not Optimizer([weight()], SGD, 10, ALONE, divided=True).divided


def test_dot_gets_the_gradients_of_both_parts_clipped_alike():
    """Gradients (6, 0) of the labels and (0, 8) of the teacher: a norm of 10, clipped to 5."""
    for clip, factor in ((None, 1.0), (5.0, 0.5), (50.0, 1.0)):
        own = weight()
        optimizer = Optimizer([own], TWO, 1, ALONE, clip, divided=True)
        hard, taught = own[0] ** 2, own[1] ** 2
        value, norm = optimizer.step(hard + taught, 0, taught)
        assert value.item() == pytest.approx(25.0)
        assert norm.item() == pytest.approx(10.0)
        (state,) = optimizer.state_dict()["state"].values()
        torch.testing.assert_close(state["task"], factor * torch.tensor([6.0, 0.0]))
        torch.testing.assert_close(state["taught"], factor * torch.tensor([0.0, 8.0]))
        torch.testing.assert_close(own.detach(), torch.tensor([3 - 0.6 * factor, 4 - 0.8 * factor]))


@pytest.mark.parametrize("bad", ["hard", "taught"])
def test_dot_moves_nothing_if_a_gradient_of_either_part_is_not_finite(bad):
    own = weight()
    optimizer = Optimizer([own], TWO, 10, ALONE, divided=True)
    parts = {"hard": own.sum(), "taught": own.sum(), bad: infinite_gradient(own)}
    value, norm = optimizer.step(parts["hard"] + parts["taught"], 0, parts["taught"])
    assert math.isfinite(value.item())
    assert not math.isfinite(norm.item())
    assert own.tolist() == [3.0, 4.0]


def test_dot_resumes():
    ends = []
    for stop in (None, 2):
        own = weight()
        optimizer = Optimizer([own], TWO, 5, ALONE, divided=True)
        for step in range(5):
            if step == stop:
                state = optimizer.state_dict()
                optimizer = Optimizer([own], TWO, 5, ALONE, divided=True)
                optimizer.load_state_dict(state)
            taught = own[1] ** 2
            optimizer.step(own[0] ** 2 + taught, step, taught)
        ends.append(own)
    assert torch.equal(*ends)
    assert isinstance(optimizer._inner, DOT)
