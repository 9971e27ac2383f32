from __future__ import annotations

import pytest
import soft_nets
import torch
from torch import Tensor, nn

from tvmkd.search.soft import blocks


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("residual", ["blocks.1", "blocks.3"]),
        ("depthwise", []),
        ("mlp", ["blocks.0", "blocks.1", "blocks.2"]),
    ],
)
def test_residual_blocks_are_found_and_a_plain_chain_has_none(spec: str, found: list[str]) -> None:
    network = soft_nets.build(spec)
    assert blocks.find(network, soft_nets.SHAPE, soft_nets.fixed(network)) == found


def test_the_weights_of_channels_are_a_block_in_a_block_that_stays() -> None:
    network = soft_nets.build("bottleneck")
    found = blocks.find(network, soft_nets.SHAPE, soft_nets.fixed(network))
    assert "features.3" in found
    assert "features.4.block.2" in found
    assert not any(path.startswith("features.3.") for path in found), "it is inside of another"


class Add(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.b(torch.relu(self.a(x)))
        return out


def test_each_block_of_a_row_is_a_choice_and_not_the_row() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.Sequential(Add(8), Add(8)), nn.Flatten(), nn.Linear(8 * 36, 2)
    )
    assert blocks.find(network, (1, 1, 8, 8), [network[3]]) == ["1.0", "1.1"]


def test_a_block_that_runs_twice_or_has_a_fixed_layer_stays() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 8, 1)
            self.blocks = nn.ModuleList([Add(8), Add(8), Add(8)])

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for number in (0, 0, 1, 2):
                x = self.blocks[number](x)
            return x

    network = Twice()
    kept = network.get_submodule("blocks.2.b")
    assert blocks.find(network, (1, 1, 4, 4), []) == ["blocks.1", "blocks.2"]
    assert blocks.find(network, (1, 1, 4, 4), [kept]) == ["blocks.1"]


def test_a_block_that_is_left_out_gives_its_input() -> None:
    network = nn.Sequential(Add(2))
    images = torch.rand(1, 2, 4, 4)
    assert torch.equal(blocks.leave_out(network, ["0"])(images), images)
