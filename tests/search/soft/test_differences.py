from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
import soft_nets
import torch
from made_up_latency import MadeUpLatency

from tvmkd.search.soft.choices import Structure
from tvmkd.search.soft.cut import cut
from tvmkd.search.soft.differences import Differences, Expected, measure, questions
from tvmkd.search.soft.staircase import thinned
from tvmkd.search.soft.survey import Asker


def measured(
    spec: str, ask: Asker | None = None, *, grid: bool = False, most: int = 3
) -> tuple[Differences, Asker]:
    ask = ask or soft_nets.asker(spec)
    choices = [
        replace(choice, options=thinned(choice.options, most)) for choice in soft_nets.choices(spec)
    ]
    return measure(ask, choices, ask({}), grid=grid), ask


def structures(found: Differences, count: int = 8) -> list[Structure]:
    draw = random.Random(1)
    return [
        {choice.name: draw.choice(choice.options) for choice in found.choices} for _ in range(count)
    ]


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("spec", ["residual", "mlp"])
def test_the_sum_of_differences_is_the_latency_of_networks_that_are_cut(
    spec: str, grid: bool
) -> None:
    found, ask = measured(spec, grid=grid)
    for structure in structures(found):
        assert found.of(structure) == pytest.approx(ask(structure), rel=1e-6)
    assert found.of({}) == pytest.approx(found.whole)


def test_a_grid_is_exact_where_the_time_of_a_layer_has_steps_of_its_own() -> None:
    class Odd(MadeUpLatency):
        def predict(self, kernels):  # type: ignore[no-untyped-def]
            # Slow where both sides of a layer have three eights: no product of two effects.
            found = super().predict(kernels)
            slow = sum(kernel.flop == 2 * 24 * 24 * 64 for kernel in kernels)
            return replace(found, seconds=found.seconds + slow * 1e-5)

    network, whole = soft_nets.build("depthwise").eval(), soft_nets.choices("depthwise")
    ask = Asker(Odd(), network, whole, soft_nets.SHAPE)
    exact, _ = measured("depthwise", ask, grid=True, most=4)
    rough, _ = measured("depthwise", ask, most=4)
    errors = [
        [abs(found.of(structure) - ask(structure)) for structure in structures(exact, 30)]
        for found in (exact, rough)
    ]
    assert max(errors[0]) < 1e-9 < max(errors[1])


@pytest.mark.parametrize("grid", [False, True])
def test_it_asks_as_often_as_it_says(grid: bool) -> None:
    choices, asked = soft_nets.choices("residual"), list[Structure]()

    def predict(structure: Structure) -> float:
        asked.append(structure)
        return 1.0

    measure(predict, choices, 1.0, grid=grid)
    assert len(asked) == questions(choices, grid=grid)


def test_the_expectation_has_a_gradient_towards_faster_options() -> None:
    found, _ = measured("residual")
    expected = Expected(found)
    most = max(len(choice.options) for choice in found.choices)
    logits = torch.zeros(len(found.choices), most)
    for row, choice in enumerate(found.choices):
        logits[row, len(choice.options) :] = -torch.inf
    logits.requires_grad_()
    share = expected(torch.softmax(logits, 1))
    assert 0 < float(share.detach()) < 1
    share.backward()
    assert logits.grad is not None
    for row, choice in enumerate(found.choices):
        gradient = logits.grad[row, : len(choice.options)]
        assert gradient[0] > 0 > gradient[-1], choice.name


def test_the_expectation_is_the_mean_over_structures() -> None:
    found, ask = measured("depthwise", most=4)
    most = max(len(choice.options) for choice in found.choices)
    probabilities = torch.zeros(len(found.choices), most)
    for row, choice in enumerate(found.choices):
        probabilities[row, : len(choice.options)] = 1 / len(choice.options)
    draws = structures(found, 2000)
    mean = sum(ask(structure) for structure in draws) / len(draws) / found.whole
    assert float(Expected(found)(probabilities)) == pytest.approx(mean, rel=0.05)


def test_plain_data_and_back() -> None:
    found, _ = measured("residual")
    again = Differences.from_dict(json.loads(json.dumps(found.to_dict())), found.choices)
    assert again == found


def test_a_block_that_goes_takes_the_cost_of_its_groups_with_it() -> None:
    found, ask = measured("residual")
    gone = {"blocks.1": 0}
    assert found.of({**gone, "blocks.1.first.0": 8}) == pytest.approx(found.of(gone))
    network = cut(soft_nets.build("residual"), found.choices, gone)
    assert isinstance(network.get_submodule("blocks.1"), torch.nn.Identity)
    assert found.of(gone) == pytest.approx(ask(gone))
