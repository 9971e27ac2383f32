from __future__ import annotations

import pytest
import torch
from torch import nn

from tvmkd.errors import UsageError
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
