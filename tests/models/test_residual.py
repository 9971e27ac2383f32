from __future__ import annotations

import torch

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
