"""The default teacher: a small residual network with configurable width and depth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut (He et al., 2015), post-activation."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = _conv_norm(inputs, outputs, 3, stride)
        self.second = _conv_norm(outputs, outputs, 3)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else _conv_norm(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``[N, inputs, H, W]`` to ``[N, outputs, H / stride, W / stride]``."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class ResidualNet(nn.Module):
    """A residual classifier: ``[N, channels, H, W]`` float32 to ``[N, classes]`` logits.

    Args:
        classes: number of classes.
        channels: channels of the image (1 gray, 3 RGB).
        widths: channels of each stage; every stage halves the resolution.
        depth: residual blocks in each stage.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        widths: Sequence[int] = (32, 64, 128),
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv_norm(channels, widths[0], 3), nn.ReLU())
        blocks: list[nn.Module] = []
        inputs = widths[0]
        for width in widths:
            for index in range(depth):
                blocks.append(ResidualBlock(inputs, width, stride=2 if index == 0 else 1))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        logits: Tensor = self.head(self.pool(self.blocks(self.stem(x))).flatten(1))
        return logits
