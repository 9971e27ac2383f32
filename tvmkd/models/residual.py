"""The default teacher: a small residual network with configurable width and depth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tvmkd.base.errors import UsageError
from tvmkd.models.scaling import each_stage, kernels, scales

WIDTHS = (32, 64, 128)


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class ResidualBlock(nn.Module):
    """Two convolutions, 3×3 by default, and a shortcut (He et al., 2015), post-activation."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> None:
        super().__init__()
        self.first = _conv_norm(inputs, outputs, kernel, stride)
        self.second = _conv_norm(outputs, outputs, kernel)
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
        depth: residual blocks in a stage; one number, or one for each stage.
        width: multiplier of ``widths``; one, or one for each stage. The stem has the channels of
            the first stage.
        multiple: multiplied channel counts are rounded to a multiple of this; ``widths`` that are
            not multiplied stay as given.
        kernel: pixels a side of the blocks' convolutions, odd; one, or one for each stage.

    Raises:
        UsageError: an argument is out of range.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        widths: Sequence[int] = WIDTHS,
        depth: int | Sequence[int] = 2,
        width: float | Sequence[float] = 1.0,
        multiple: int = 8,
        kernel: int | Sequence[int] = 3,
    ) -> None:
        super().__init__()
        each = scales(width, 1.0, multiple, len(widths))
        counts = [
            count if scale.width == 1 else scale.channels(count)
            for count, scale in zip(widths, each, strict=True)
        ]
        depths = each_stage("depth", depth, [2] * len(widths))
        if not all(isinstance(blocks, int) and blocks >= 1 for blocks in depths):
            raise UsageError(f"depth = {depth!r}: wants a whole number of blocks, at least 1")
        self.stem = nn.Sequential(_conv_norm(channels, counts[0], 3), nn.ReLU())
        blocks: list[nn.Module] = []
        inputs = counts[0]
        for count, repeats, size in zip(
            counts, depths, kernels(kernel, [3] * len(widths)), strict=True
        ):
            for index in range(repeats):
                blocks.append(ResidualBlock(inputs, count, 2 if index == 0 else 1, size))
                inputs = count
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(inputs, classes)

    @staticmethod
    def stages(widths: Sequence[int] = WIDTHS) -> int:
        """How many values ``width``, ``depth`` and ``kernel`` may have."""
        return len(widths)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        logits: Tensor = self.head(self.pool(self.blocks(self.stem(x))).flatten(1))
        return logits
