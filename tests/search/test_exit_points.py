from __future__ import annotations

import pytest
from torch import nn

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.models.early_exit import EarlyExitNet
from tvmkd.search.exit_points import blocks, is_share, resolve


def test_what_is_a_share() -> None:
    assert [value for value in (0.5, 0, 1.0, 1.5, True, "0.5", "a") if is_share(value)] == [0.5]


def test_the_blocks_of_networks() -> None:
    assert list(blocks(models.build("depthwise"))) == [f"features.{n}" for n in range(3, 8)]
    residual = ["stem.0", *(f"blocks.{n}" for n in range(6))]
    assert list(blocks(models.build("residual"))) == residual
    found = list(blocks(models.build("torchvision:resnet18")))
    assert found == [f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2)]
    nested = nn.Sequential(nn.Sequential(nn.Sequential(nn.ReLU(), nn.ReLU())))
    assert list(blocks(nn.ModuleDict({"a": nested, "b": nn.ReLU()}))) == ["a.0.0"]


@pytest.mark.parametrize(
    ("spec", "exits", "found"),
    [
        ("depthwise", [0.5], ["features.4"]),
        ("depthwise", [0.33, 0.66], ["features.4", "features.5"]),
        ("depthwise", [0.01, 0.99], ["features.3", "features.6"]),
        ("depthwise", [0.4, 0.41], ["features.4"]),
        ("depthwise", ["features.5"], ["features.5"]),
        ("depthwise", ["features.5", 0.2, 0.6], ["features.3", "features.5"]),
        ("torchvision:mobilenet_v3_small", [0.5], ["features.5"]),
    ],
)
def test_a_place_for_each_share(spec: str, exits: list[str | float], found: list[str]) -> None:
    assert resolve(exits, spec, {}, 32, 8) == found


def test_a_network_can_have_exits_there() -> None:
    args = {"classes": 10, "size": 32}
    places = resolve([0.3, 0.7], "bottleneck", args, 32, 8)
    assert EarlyExitNet("bottleneck", args, places, 10, (1, 1, 32, 32)).exits == tuple(places)


@pytest.mark.parametrize("spec", ["mlp", "torchvision:alexnet"])
def test_a_network_without_blocks_of_feature_maps(spec: str) -> None:
    with pytest.raises(InputError, match=f"exits: {spec} has 0 blocks|exits: {spec} has 1 blocks"):
        resolve([0.5], spec, {}, 64, 8)
