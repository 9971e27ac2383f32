from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.models.early_exit import EarlyExitNet

GIVEN: dict[str, Any] = {
    "base": "residual",
    "args": {"widths": [8, 16], "depth": 1},
    "exits": ["blocks.0"],
    "classes": 10,
    "shape": [1, 1, 16, 16],
}
IMAGES = torch.linspace(0, 1, 2 * 256).view(2, 1, 16, 16)


def build(**changes: Any) -> EarlyExitNet:
    torch.manual_seed(0)
    network = models.build("early-exit", **{**GIVEN, **changes})
    assert isinstance(network, EarlyExitNet)
    return network


def test_it_answers_like_its_base_and_its_branches_see_the_same_images() -> None:
    network = build().eval()
    assert torch.equal(network(IMAGES), network.base(IMAGES))
    network(IMAGES)
    (branch,) = network.branch_logits
    assert branch.shape == (2, 10)
    features = network.base.blocks[0](network.base.stem(IMAGES))
    assert torch.equal(branch, network.branches[0](features))


def test_a_copy_has_branches_of_its_own() -> None:
    network = build().eval()
    twin = copy.deepcopy(network)
    network(IMAGES)
    twin(2 * IMAGES)
    assert not torch.equal(network.branch_logits[0], twin.branch_logits[0])


def test_building_leaves_it_as_it_was_drawn() -> None:
    network = build()
    assert network.base.training
    norm = network.base.stem[0][1]
    assert torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"exits": ["block.0"]}, 'no module "block.0" in residual; did you mean "blocks.0"'),
        ({"exits": ["blocks.1", "blocks.0"]}, "in the order blocks.0, blocks.1"),
        ({"exits": ["head"]}, "needs a feature map"),
        ({"base": "os:getcwd"}, "not a model of tvmkd or torchvision"),
    ],
)
def test_exits_that_cannot_be_are_one_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=re.escape(line)) as caught:
        build(**changes)
    assert "\n" not in str(caught.value)
