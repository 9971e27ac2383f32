from __future__ import annotations

import copy

import pytest
import soft_nets
import torch

from tvmkd.search.soft import gates as module
from tvmkd.search.soft.cut import cut
from tvmkd.search.soft.gates import Gates

IMAGES = torch.linspace(0, 1, 1024).view(4, 1, 16, 16)


def soft(spec: str) -> tuple[torch.nn.Module, Gates]:
    network = soft_nets.build(spec)
    return network, Gates(network, soft_nets.choices(spec), pace=1.0)


@pytest.mark.parametrize("spec", ["residual", "bottleneck", "mlp"])
@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_certain_structure_is_the_network_that_is_cut(spec: str, place: int) -> None:
    network = soft_nets.build(spec)
    structure = {choice.name: choice.options[place] for choice in soft_nets.choices(spec)}
    smaller = cut(network, soft_nets.choices(spec), structure).eval()
    gates = Gates(network, soft_nets.choices(spec), pace=1.0)
    gates.set(structure)
    assert gates.likeliest() == structure
    torch.testing.assert_close(network.eval()(IMAGES), smaller(IMAGES), rtol=1e-4, atol=1e-5)


def test_at_the_start_all_of_it_is_the_likeliest_and_half_of_the_probability() -> None:
    _, gates = soft("residual")
    first = gates.probabilities()[:, 0]
    torch.testing.assert_close(first, torch.full_like(first, module.WHOLE))
    assert gates.likeliest() == {each.name: each.options[0] for each in gates.choices}


def test_one_forward_pass_draws_once_and_the_next_step_again() -> None:
    network, gates = soft("residual")
    network.train()
    for each in network.modules():
        if isinstance(each, torch.nn.BatchNorm2d):
            each.eval()
    torch.manual_seed(1)
    first = network(IMAGES)
    assert torch.equal(network(IMAGES), first)
    gates.step(0.1)
    assert not torch.equal(network(IMAGES), first)


def test_the_probabilities_learn_from_the_outputs_but_not_at_first() -> None:
    network, gates = soft("residual")
    network.train()
    network(IMAGES).square().sum().backward()
    assert gates.moved.grad is None
    gates.step(module.WARM_UP)
    network(IMAGES).square().sum().backward()
    assert gates.moved.grad is not None
    assert float(gates.moved.grad.abs().min()) > 0, "every option"


def test_draws_get_certain_as_the_shaping_goes_on() -> None:
    network, gates = soft("residual")
    network.train()
    largest = []
    for progress in (0.0, 1.0):
        torch.manual_seed(0)
        drawn = []
        for _ in range(20):
            gates.step(progress)
            drawn.append(gates._now()[0].max(1).values.mean())
        largest.append(float(torch.stack(drawn).mean().detach()))
    assert largest[0] < 0.7 < 0.9 < largest[1]


def test_a_resumed_training_knows_its_progress() -> None:
    _, gates = soft("residual")
    gates.step(0.75)
    state = copy.deepcopy(gates.state_dict())
    assert set(state) == {"moved", "progress"}, "a checkpoint has nothing else of it"
    _, again = soft("residual")
    again.load_state_dict(state)
    assert again._share == 0.75


def test_a_closed_one_leaves_the_network_as_it_was() -> None:
    network, gates = soft("bottleneck")
    gates.set({choice.name: choice.options[-1] for choice in gates.choices})
    gates.close()
    plain = soft_nets.build("bottleneck")
    assert torch.equal(network.eval()(IMAGES), plain.eval()(IMAGES))


def test_a_short_training_moves_the_logits_as_far_as_a_long_one() -> None:
    network = soft_nets.build("depthwise")
    for pace in (0.1, 10.0):
        gates = Gates(network, soft_nets.choices("depthwise"), pace)
        with torch.no_grad():
            gates.moved += pace  # what Adam moves it if all gradients agree
        logits = gates._logits() - gates.start
        assert float(logits[gates.valid].min()) == pytest.approx(module.TRAVEL)
        gates.close()
