from __future__ import annotations

import pytest
import torch

from tvmkd.base.errors import UsageError
from tvmkd.models.residual import ResidualBlock, ResidualNet


def test_shapes_and_depth():
    net = ResidualNet(classes=5, channels=3, widths=(8, 16), depth=3)
    assert net(torch.zeros(2, 3, 20, 20)).shape == (2, 5)
    assert sum(isinstance(module, ResidualBlock) for module in net.modules()) == 6


def test_a_block_adds_its_input():
    block = ResidualBlock(4, 4).eval()
    torch.nn.init.zeros_(block.second[0].weight)
    x = torch.randn(1, 4, 6, 6)
    torch.testing.assert_close(block(x), torch.relu(x))


def test_stages_of_their_own_width_depth_and_kernel():
    net = ResidualNet(widths=(20, 40), width=[0.5, 1.0], depth=[1, 3], kernel=[5, 3], multiple=8)
    blocks = [module for module in net.modules() if isinstance(module, ResidualBlock)]
    # 10 becomes 16, since 8 is less than nine tenths of it; what is not multiplied stays as it is.
    assert [block.first[0].out_channels for block in blocks] == [16, 40, 40, 40]
    assert [block.second[0].kernel_size[0] for block in blocks] == [5, 3, 3, 3]
    assert net(torch.zeros(2, 1, 20, 20)).shape == (2, 10)
    assert ResidualNet.stages(widths=(8, 8)) == 2


@pytest.mark.parametrize("depth", [0, 1.5, [1, 2]])
def test_a_depth_that_is_none(depth):
    with pytest.raises(UsageError, match="depth = "):
        ResidualNet(depth=depth)
