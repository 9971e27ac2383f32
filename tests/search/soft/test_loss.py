from __future__ import annotations

import pytest
import soft_nets
import torch
from torch import Tensor, nn

from tvmkd.distill.task import Batch
from tvmkd.search.soft.differences import Expected, measure
from tvmkd.search.soft.gates import WARM_UP, Gates
from tvmkd.search.soft.loss import ShapingLoss

IMAGES = torch.linspace(0, 1, 1024).view(4, 1, 16, 16)


class Inner(nn.Module):
    """A loss with a weight of its own, that is closed."""

    closed = False

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, batch: Batch, output: Tensor) -> Tensor:
        del batch
        return self.factor * output.square().mean()

    def close(self) -> None:
        self.closed = True


def made(weight: float) -> tuple[nn.Module, ShapingLoss]:
    network, choices = soft_nets.build("depthwise"), soft_nets.choices("depthwise")
    ask = soft_nets.asker("depthwise")
    gates = Gates(network, choices, pace=1.0)
    return network, ShapingLoss(Inner(), gates, Expected(measure(ask, choices, ask({}))), weight)


def batch(progress: float) -> Batch:
    return Batch(IMAGES, torch.zeros(4), torch.arange(4), progress)


def test_the_latency_is_added_as_a_share_of_the_whole() -> None:
    network, loss = made(3.0)
    network.eval()
    output = network(IMAGES)
    share = float(loss.expected(loss.gates.probabilities()).detach())
    assert 0 < share < 1
    found = float(loss(batch(0.0), output).detach())
    assert found == pytest.approx(2.0 * float(output.detach().square().mean()) + 3 * share)
    loss.gates.set({choice.name: choice.options[0] for choice in loss.gates.choices})
    assert float(loss.expected(loss.gates.probabilities()).detach()) == pytest.approx(1.0)


def test_it_pulls_towards_what_is_fast_as_soon_as_the_warm_up_is_over() -> None:
    network, loss = made(1e6)  # against which the task counts nothing
    network.train()
    loss(batch(0.0), network(IMAGES)).backward()
    assert loss.gates.moved.grad is None
    loss(batch(WARM_UP), network(IMAGES))
    loss(batch(0.5), network(IMAGES)).backward()
    gradient = loss.gates.moved.grad
    assert gradient is not None
    at = 0
    for choice in loss.gates.choices:
        own = gradient[at : at + len(choice.options)]
        assert own[0] > 0 > own[-1], choice.name
        at += len(choice.options)


def test_the_weights_of_the_inner_loss_are_trained_and_saved_too() -> None:
    _, loss = made(1.0)
    assert any(weight is loss.inner.factor for weight in loss.parameters())
    assert set(loss.state_dict()) == {"inner.factor", "gates.moved", "gates.progress"}


def test_closing_it_closes_all_of_it() -> None:
    network, loss = made(1.0)
    loss.close()
    assert loss.inner.closed
    assert not any(
        module._forward_pre_hooks or module._forward_hooks for module in network.modules()
    )


def test_a_loss_that_is_a_function_needs_no_closing() -> None:
    network, choices = soft_nets.build("depthwise"), soft_nets.choices("depthwise")
    ask = soft_nets.asker("depthwise")
    expected = Expected(measure(ask, choices, ask({})))
    gates = Gates(network, choices, pace=1.0)
    ShapingLoss(lambda batch, output: output.sum(), gates, expected, 1.0).close()
