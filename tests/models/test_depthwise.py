from __future__ import annotations

import pytest
import torch
from torch import nn

from tvmkd.base.errors import UsageError
from tvmkd.models.depthwise import DepthwiseNet
from tvmkd.models.macs import macs, parameters
from tvmkd.models.residual import ResidualNet

DIGITS = (1, 1, 32, 32)


def test_at_least_ten_times_smaller_than_the_teacher():
    assert macs(ResidualNet(), DIGITS) >= 10 * macs(DepthwiseNet(), DIGITS)
    assert parameters(ResidualNet()) >= 10 * parameters(DepthwiseNet())


def test_only_operators_that_compile_well():
    kinds = {type(module) for module in DepthwiseNet().modules() if not list(module.children())}
    assert kinds == {nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.AdaptiveAvgPool2d, nn.Linear}


def test_channels_fill_vector_registers():
    for module in DepthwiseNet().modules():
        if isinstance(module, nn.Conv2d):
            assert module.out_channels % 8 == 0
            assert module.groups in (1, module.in_channels)
    with pytest.raises(UsageError, match="12 channels"):
        DepthwiseNet(blocks=[(12, 1)])


def test_shapes():
    net = DepthwiseNet(classes=3, channels=3, stem=8, blocks=[(16, 2)])
    assert net(torch.zeros(2, 3, 30, 30)).shape == (2, 3)


def shapes(net):
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def test_the_default_network_is_the_one_that_records_ship_for():
    convolutions = [m for m in DepthwiseNet().modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.stride[0], m.groups) for m in convolutions] == [
        *((1, 16, 2, 1), (16, 16, 1, 16), (16, 32, 1, 1), (32, 32, 2, 32), (32, 64, 1, 1)),
        *((64, 64, 1, 64), (64, 64, 1, 1), (64, 64, 2, 64), (64, 128, 1, 1)),
        *((128, 128, 1, 128), (128, 128, 1, 1)),
    ]
    names = list(DepthwiseNet().state_dict())
    assert {"features.0.weight", "features.3.3.weight", "features.7.4.bias"} < set(names)
    # All of its widths are multiples of 16, which is the most that a target here asks for.
    assert shapes(DepthwiseNet(multiple=16)) == shapes(DepthwiseNet())


def test_depth_repeats_what_neither_halves_nor_widens():
    def blocks(**kwargs):
        convolutions = [m for m in DepthwiseNet(**kwargs).modules() if isinstance(m, nn.Conv2d)]
        spatial, pointwise = convolutions[1::2], convolutions[2::2]
        return [(b.out_channels, a.stride[0]) for a, b in zip(spatial, pointwise, strict=True)]

    assert blocks(depth=0.5) == [(32, 1), (64, 2), (128, 2)]
    assert blocks(depth=1.5)[:5] == [(32, 1), (32, 1), (64, 2), (64, 1), (64, 1)]
    assert blocks(stem=8, blocks=[(8, 1), (8, 2)], depth=2) == [(8, 1), (8, 1), (8, 2), (8, 1)]


def test_width_scales_and_rounds():
    net = DepthwiseNet(stem=24, blocks=[(40, 1)], width=0.5, multiple=4)
    assert net.features[0].out_channels == 12
    assert net.head.in_features == 20
