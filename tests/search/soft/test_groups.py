from __future__ import annotations

import pytest
import soft_nets
import torch
from torch import Tensor, nn

from tvmkd.base.errors import InputError
from tvmkd.search.soft import groups


def by_name(spec: str) -> dict[str, groups.Group]:
    network = soft_nets.build(spec)
    found = groups.find(network, soft_nets.SHAPE, soft_nets.fixed(network))
    return {group.name: group for group in found}


def test_what_is_added_up_is_one_group() -> None:
    found = by_name("residual")
    stream = found["blocks.0.second.0"]
    assert stream.size == 16
    assert stream.sources == ("blocks.0.second.0", "blocks.0.shortcut.0", "blocks.1.second.0")
    read = {part.path for part in stream.parts if part.side == "inputs"}
    assert read == {"blocks.1.first.0", "blocks.2.first.0", "blocks.2.shortcut.0"}
    assert "head" not in found, "the classes are not for choosing"


def test_a_depthwise_convolution_is_on_both_sides_of_its_channels() -> None:
    found = by_name("depthwise")
    stem = found["features.0"]
    assert stem.sources == ("features.0",)
    sides = {part.path: part.side for part in stem.parts}
    assert sides["features.3.0"] == "outputs"
    assert [path for path, side in sides.items() if side == "inputs"] == ["features.3.3"]


def test_a_normalisation_over_channels_is_left_alone() -> None:
    found = by_name("mlp")
    assert all(".token_mix.0" in name or ".feature_mix.0" in name for name in found)
    assert len(found) == 6


class Two(nn.Module):
    """Two maps, one behind the other."""

    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.a, self.b, self.flat = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 3, 1), flat
        self.head = nn.Linear(5 * 4, 2) if flat else nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.a(x), self.b(x)], 1)
        out: Tensor = self.head(x.flatten(1) if self.flat else x)
        return out


def into_head(group: groups.Group) -> groups.Part:
    return next(part for part in group.parts if part.path == "head")


def test_the_maps_of_a_concatenation_are_told_apart() -> None:
    network = Two(flat=False)
    a, b = groups.find(network, (1, 1, 2, 2), [network.head])
    assert (a.name, into_head(a).channels, into_head(a).roots) == ("a", (0, 1), (0, 1))
    assert (b.name, into_head(b).channels, into_head(b).roots) == ("b", (2, 3, 4), (0, 1, 2))


def test_a_channel_is_several_inputs_behind_a_flattening() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(3 * 4, 2))
    (group,) = groups.find(network, (1, 1, 2, 2), [network[2]])
    (into,) = [part for part in group.parts if part.side == "inputs"]
    assert into.channels == tuple(range(12))
    assert into.roots == (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2)


def test_only_layers_with_just_these_channels_compute_them() -> None:
    """Torch-Pruning 1.6 confuses the maps of a concatenation that is flattened."""
    (group,) = groups.find(network := Two(flat=True), (1, 1, 2, 2), [network.head])
    assert group.sources == ("a",)


def test_the_order_is_by_the_size_of_the_weights() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(3, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, 3.0, 2.0]).view(3, 1, 1, 1))
        network[2].weight.fill_(0.1)
    (group,) = groups.find(network, (1, 1, 1, 1), [network[2]])
    assert group.order == (1, 2, 0)


def test_a_network_that_cannot_be_followed_is_one_line() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no\nsuch thing")

    with pytest.raises(InputError, match=r"Odd: Torch-Pruning cannot follow it: ValueError: no"):
        groups.find(Odd(), (1, 1, 4, 4), [])


def test_the_network_stays_in_its_mode() -> None:
    network = soft_nets.build("depthwise")
    groups.find(network, soft_nets.SHAPE, soft_nets.fixed(network))
    assert network.training
