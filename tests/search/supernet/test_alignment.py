from __future__ import annotations

from typing import Any

import pytest
import torch
from nested_nets import Table
from torch import nn

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.search.supernet.alignment import align, own_tensors


def blocks(spec: str, depth: float, other: float, **args: Any) -> dict[str, str]:
    """Which blocks of the network of one depth are which of another's, by their numbers."""
    small, large = (models.build(spec, depth=each, **args) for each in (depth, other))
    pairs = align(small, large)
    parts = ((path.split("."), name.split(".")) for path, name in pairs.items())
    return {path[1]: name[1] for path, name in parts if path[0] in ("features", "blocks")}


def test_networks_of_one_depth_are_paired_by_name() -> None:
    for spec, args in (
        ("depthwise", {"width": 0.5}),
        ("bottleneck", {"width": 0.5}),
        ("residual", {"widths": [8, 16, 32]}),
        ("torchvision:mobilenet_v2", {"width_mult": 0.5}),
    ):
        small, large = models.build(spec, **args), models.build(spec)
        pairs = align(small, large)
        assert all(path == other for path, other in pairs.items())
        tensors = {
            f"{path}.{name}" for path in pairs for name in own_tensors(small.get_submodule(path))
        }
        assert tensors == set(small.state_dict())


def test_the_leading_blocks_of_each_stage_remain() -> None:
    # A convolution, a normalisation, then stages of 1, 2, 2 and of 2, 4, 4 blocks.
    stages = {"3": "3", "4": "5", "5": "6", "6": "9", "7": "10"}
    assert blocks("depthwise", 1.0, 2.0) == {"0": "0", "1": "1", **stages}
    # A stem, stages of 1, 1, 1, 1 and of 1, 2, 2, 2 blocks, a last convolution.
    found = blocks("bottleneck", 0.5, 1.0)
    assert found == {"0": "0", "1": "1", "2": "2", "3": "4", "4": "6", "5": "8"}
    assert blocks("residual", 1, 3) == {"0": "0", "1": "3", "2": "6"}


def test_a_block_with_a_layer_less() -> None:
    def block(expanded: int) -> nn.Sequential:
        first = [nn.Conv2d(8, expanded, 1), nn.BatchNorm2d(expanded)] if expanded > 8 else []
        depthwise = nn.Conv2d(expanded, expanded, 3, groups=expanded)
        return nn.Sequential(*first, nn.ReLU(), depthwise, nn.Conv2d(expanded, 8, 1))

    assert align(block(8), block(24)) == {"1": "3", "2": "4"}


def test_buffers_of_the_constructor_are_not_shared() -> None:
    assert set(own_tensors(Table())) == set()
    statistics = {"running_mean", "running_var", "num_batches_tracked"}
    assert set(own_tensors(nn.BatchNorm2d(4))) == {"weight", "bias", *statistics}


class Named(nn.Module):
    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


conv = nn.Conv2d


@pytest.mark.parametrize(
    ("small", "large", "says"),
    [
        (Named(a=nn.Linear(4, 4)), Named(b=nn.Linear(4, 4)), "a: the largest network has no such"),
        (nn.Linear(4, 5), nn.Linear(4, 4), r"Linear: weight is \[5, 4\], more than .* \[4, 4\]"),
        (nn.Linear(4, 4), nn.Linear(4, 4, bias=False), "has bias, which the largest network has"),
        (Named(a=nn.Linear(4, 4)), Named(a=conv(4, 4, 1)), "a: is a Linear, .* has a Conv2d"),
        (conv(4, 4, 3), conv(4, 4, 3, groups=4), "is a dense convolution, .* a depthwise one"),
        (conv(4, 4, 3, 2), conv(4, 4, 3), "has another stride than"),
        (
            nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 9)),
            nn.Sequential(*(nn.Linear(4, 4) for _ in range(3))),
            "the network: its 2 blocks are none of the largest network's 3, in order",
        ),
        (
            nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)),
            nn.Sequential(nn.Linear(4, 4)),
            "1: the largest network has no such module",
        ),
    ],
)
def test_what_is_no_part_of_it(small: nn.Module, large: nn.Module, says: str) -> None:
    with pytest.raises(InputError, match=says):
        align(small, large)


def test_each_block_is_taken_once_and_in_order() -> None:
    torch.manual_seed(0)
    large = nn.Sequential(*(nn.Linear(width, 8) for width in (4, 8, 8, 8, 4, 8)))
    small = nn.Sequential(*(nn.Linear(width, 8) for width in (8, 8, 4)))
    assert align(small, large) == {"0": "1", "1": "2", "2": "4"}
