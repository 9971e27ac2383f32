from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.ops import SqueezeExcitation

from tvmkd.models.bottleneck import BottleneckNet, InvertedResidual


def test_a_shortcut_only_where_the_shapes_agree():
    x = torch.randn(2, 16, 8, 8)
    block = InvertedResidual(16, 48, 16, squeeze=16).eval()
    torch.testing.assert_close(block(x), x + block.block(x))
    for other in (InvertedResidual(16, 48, 24), InvertedResidual(16, 48, 16, stride=2)):
        torch.testing.assert_close(other.eval()(x), other.block(x))


def test_what_is_not_widened_has_no_pointwise_convolution():
    kernels = [
        module.kernel_size[0]
        for module in InvertedResidual(16, 16, 24, kernel=5).modules()
        if isinstance(module, nn.Conv2d)
    ]
    assert kernels == [5, 1]


@pytest.mark.parametrize(("size", "side"), [(8, 4), (28, 4), (32, 4), (96, 6), (224, 7)])
def test_what_is_pooled_is_neither_a_point_nor_large(size, side):
    net = BottleneckNet(size=size).eval()
    with torch.no_grad():
        assert net.features(torch.zeros(1, 1, size, size)).shape[-2:] == (side, side)


def test_weights_do_not_depend_on_the_resolution():
    small, large = (BottleneckNet(size=size).state_dict() for size in (28, 224))
    assert {k: v.shape for k, v in small.items()} == {k: v.shape for k, v in large.items()}


def test_squeeze_and_excitation_and_hard_swish_are_where_the_paper_has_them():
    blocks = [m for m in BottleneckNet().modules() if isinstance(m, InvertedResidual)]
    squeezed = [any(isinstance(m, SqueezeExcitation) for m in b.modules()) for b in blocks]
    hard = [any(isinstance(m, nn.Hardswish) for m in b.modules()) for b in blocks]
    assert squeezed == [True, False, False, True, True, True, True]
    assert hard == [False, False, False, True, True, True, True]
