from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tvmkd.distill.distributed import ALONE
from tvmkd.distill.optimizer import Optimizer, groups, schedule
from tvmkd.distill.training import Settings

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
