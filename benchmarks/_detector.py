"""A one-stage detector like YOLOv8-n and YOLOX: CSP backbone, two-way neck, decoupled heads.

Outputs are the raw predictions of all cells, without suppression of overlaps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64, 128, 256)
CLASSES = 80


class Unit(nn.Sequential):
    """Convolution, batch normalisation, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
        )


class Csp(nn.Module):
    """A cross-stage partial block: half of the channels pass through ``depth`` bottlenecks.

    All intermediate results are concatenated, as in YOLOv8's C2f.
    """

    def __init__(self, inputs: int, outputs: int, depth: int, *, residual: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.first = Unit(inputs, 2 * half)
        self.last = Unit((2 + depth) * half, outputs)
        self.inner = nn.ModuleList(
            nn.Sequential(Unit(half, half, 3), Unit(half, half, 3)) for _ in range(depth)
        )
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.first(x).chunk(2, 1))
        for block in self.inner:
            made = block(parts[-1])
            parts.append(parts[-1] + made if self.residual else made)
        return self.last(torch.cat(parts, 1))


class Pyramid(nn.Module):
    """Spatial pyramid pooling: three max poolings in a row, all of them concatenated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Unit(channels, channels // 2)
        self.last = Unit(channels * 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(functional.max_pool2d(parts[-1], 5, 1, 2))
        return self.last(torch.cat(parts, 1))


class Head(nn.Module):
    """Boxes and classes of one level by separate convolutions: ``[N, 4 + CLASSES, cells]``."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.box = self._branch(inputs, width, 4)
        self.score = self._branch(inputs, width, CLASSES)

    @staticmethod
    def _branch(inputs: int, width: int, outputs: int) -> nn.Sequential:
        convolutions = Unit(inputs, width, 3), Unit(width, width, 3)
        return nn.Sequential(*convolutions, nn.Conv2d(width, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.box(x), self.score(x).sigmoid()], 1).flatten(2)


class Detector(nn.Module):
    """Three levels with strides 8, 16, 32: ``[N, 3, H, W]`` to ``[N, 4 + CLASSES, cells]``."""

    def __init__(self) -> None:
        super().__init__()
        stem, *widths = WIDTHS
        self.stem = Unit(3, stem, 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(Unit(before, width, 3, 2), Csp(width, width, depth, residual=True))
            for before, width, depth in zip((stem, *widths), widths, (1, 2, 2, 1), strict=False)
        )
        _, low, middle, high = widths
        self.pyramid = Pyramid(high)
        self.up_middle = Csp(high + middle, middle, 1, residual=False)
        self.up_low = Csp(middle + low, low, 1, residual=False)
        self.to_middle = Unit(low, low, 3, 2)
        self.down_middle = Csp(low + middle, middle, 1, residual=False)
        self.to_high = Unit(middle, middle, 3, 2)
        self.down_high = Csp(middle + high, high, 1, residual=False)
        self.heads = nn.ModuleList(Head(width, low) for width in (low, middle, high))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        _, low, middle, high = levels
        high = self.pyramid(high)
        middle = self.up_middle(torch.cat([_twice(high), middle], 1))
        low = self.up_low(torch.cat([_twice(middle), low], 1))
        middle = self.down_middle(torch.cat([self.to_middle(low), middle], 1))
        high = self.down_high(torch.cat([self.to_high(middle), high], 1))
        return torch.cat(
            [head(each) for head, each in zip(self.heads, (low, middle, high), strict=True)], 2
        )


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
