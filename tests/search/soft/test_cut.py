from __future__ import annotations

import json

import pytest
import soft_nets
import torch

from tvmkd import models
from tvmkd.search.soft.cut import cut, recipe, skipped

IMAGES = torch.linspace(0, 1, 512).view(2, 1, 16, 16)


@pytest.mark.parametrize("spec", ["residual", "depthwise", "mlp"])
def test_what_is_cut_is_what_the_checkpoint_s_record_builds(spec: str) -> None:
    network, choices = soft_nets.build(spec), soft_nets.choices(spec)
    structure = {choice.name: choice.options[-1] for choice in choices[::2]}
    smaller = cut(network, choices, structure)
    made = json.loads(
        json.dumps(recipe(soft_nets.recipe(spec), soft_nets.SHAPE, choices, structure))
    )
    twin = models.build(made["spec"], **made["kwargs"])
    twin.load_state_dict(smaller.state_dict())
    assert torch.equal(twin.eval()(IMAGES), smaller.eval()(IMAGES))
    counts = [sum(weight.numel() for weight in each.parameters()) for each in (network, smaller)]
    assert counts[1] < counts[0]


def test_the_important_channels_stay() -> None:
    network, choices = soft_nets.build("depthwise"), soft_nets.choices("depthwise")
    stem = choices[0]
    smaller = cut(network, choices, {stem.name: 8})
    assert stem.group is not None
    kept = sorted(stem.group.order[:8])
    before, after = (each.get_submodule("features.0").weight for each in (network, smaller))
    assert torch.equal(after, before[kept])


def test_a_group_that_starts_in_a_block_that_goes_is_recorded_at_a_layer_that_stays() -> None:
    network, choices = soft_nets.build("bottleneck"), soft_nets.choices("bottleneck")
    blocks = [choice for choice in choices if choice.kind == "depth"]
    structure = {choice.name: choice.options[-1] for choice in choices}
    made = recipe(soft_nets.recipe("bottleneck"), soft_nets.SHAPE, choices, structure)
    assert made["kwargs"]["skipped"] == [block.name for block in blocks]
    assert not any(
        path.startswith(tuple(f"{block.name}." for block in blocks))
        for path, _, _ in made["kwargs"]["history"]
    )
    twin = models.build(made["spec"], **made["kwargs"])
    twin.load_state_dict(cut(network, choices, structure).state_dict())


def test_nothing_to_take_out_leaves_the_model_as_it_was() -> None:
    model = soft_nets.recipe("residual")
    choices = soft_nets.choices("residual")
    whole = {choice.name: choice.options[0] for choice in choices}
    assert recipe(model, soft_nets.SHAPE, choices, whole) == model
    assert recipe(model, soft_nets.SHAPE, choices, {}) == model
    assert skipped(choices, {}) == []
