from __future__ import annotations

import pytest
import torch
from torch import nn

from tvmkd.distill.dot import DOT


def made(**changes: float) -> tuple[nn.Parameter, DOT]:
    weight = nn.Parameter(torch.tensor([1.0]))
    settings = {"lr": 0.1, "momentum": 0.5, "delta": 0.25, **changes}
    decay = settings.pop("weight_decay", 0.0)
    return weight, DOT([{"params": [weight], "weight_decay": decay}], **settings)


def test_two_steps_by_hand() -> None:
    """Momenta of 0.25 and 0.75; each step has gradients of 1 (labels) and 2 (teacher)."""
    weight, optimizer = made()
    for end in (1 - 0.1 * (1 + 2), 0.7 - 0.1 * (1.25 + 3.5)):
        weight.grad, optimizer.taught = torch.tensor([3.0]), {weight: torch.tensor([2.0])}
        optimizer.step()
        assert weight.item() == pytest.approx(end)


@pytest.mark.parametrize("taught", [True, False])
def test_without_delta_it_is_sgd(taught: bool) -> None:
    weight, optimizer = made(delta=0.0, weight_decay=0.1)
    other = nn.Parameter(weight.detach().clone())
    plain = torch.optim.SGD([other], lr=0.1, momentum=0.5, weight_decay=0.1)
    for gradient in (1.0, -2.0, 3.0):
        weight.grad, other.grad = torch.tensor([gradient]), torch.tensor([gradient])
        optimizer.taught = {weight: torch.tensor([0.3])} if taught else {}
        optimizer.step()
        plain.step()
    torch.testing.assert_close(weight, other)


def test_weight_decay_has_the_momentum_of_the_labels() -> None:
    weight, optimizer = made(weight_decay=1.0)
    weight.grad = torch.tensor([0.0])
    optimizer.step()
    assert optimizer.state[weight]["task"].item() == 1.0
    assert optimizer.state[weight]["taught"].item() == 0.0


def test_a_step_is_left_out_where_a_gpu_says_so() -> None:
    weight, optimizer = made()
    weight.grad = torch.tensor([torch.nan])
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert weight.item() == 1.0
    optimizer.found_inf, weight.grad = torch.tensor(0.0), torch.tensor([1.0])
    optimizer.step()
    assert weight.item() == pytest.approx(0.9)
