from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tvmkd.distill.memory_format import is_thin, to_device

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("module", "thin"),
    [
        (nn.Conv2d(8, 32, 1, 2), True),
        (nn.Conv2d(15, 8, 1, (1, 3)), True),
        (nn.Conv2d(32, 32, 1, 2, groups=4), True),
        (nn.Conv2d(16, 8, 1, 2), False),
        (nn.Conv2d(8, 8, 1), False),
        (nn.Conv2d(8, 8, 3, 2), False),
        (nn.Linear(8, 8), False),
    ],
)
def test_thin_convolutions(module: nn.Module, thin: bool) -> None:
    assert is_thin(module) is thin


@pytest.mark.parametrize("channels", [1, 8])
def test_a_thin_convolution_stays_contiguous_and_the_others_do_not(channels: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, channels, 3), nn.Conv2d(channels, 8, 1, 2))
    plain = copy.deepcopy(network)
    to_device(to_device(network, CPU), CPU)
    assert len(network[1]._forward_pre_hooks) == 1, "of two calls"
    seen: list[tuple[int, ...]] = []
    network[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].stride()))
    images = torch.rand(2, 3, 18, 18)
    network(images.to(memory_format=torch.channels_last)).square().sum().backward()
    plain(images).square().sum().backward()
    assert seen == [(channels * 256, 256, 16, 1)]
    assert network[0].weight.stride()[1] == 1
    for mine, wanted in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, wanted.grad)
    assert copy.deepcopy(network)(images).shape == (2, 8, 8, 8)
    assert network.state_dict().keys() == plain.state_dict().keys()
