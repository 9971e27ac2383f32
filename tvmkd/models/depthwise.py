"""The default student: depthwise-separable convolutions and nothing a small compiler dislikes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tvmkd.errors import UsageError


def _separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class DepthwiseNet(nn.Module):
    """A depthwise-separable classifier: ``[N, channels, H, W]`` float32 to ``[N, classes]`` logits.

    Convolution, depthwise convolution, ReLU, one global average and one dense layer: operators
    that every compiler and board has a fast path for. All widths are multiples of 8, so that
    channel blocks fill vector registers.

    Args:
        classes: number of classes.
        channels: channels of the image (1 gray, 3 RGB).
        stem: channels of the first convolution, which halves the resolution.
        blocks: ``(channels, stride)`` of each separable block.

    Raises:
        UsageError: a width is not a positive multiple of 8.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        stem: int = 16,
        blocks: Sequence[Sequence[int]] = ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1)),
    ) -> None:
        super().__init__()
        for width in (stem, *(width for width, _ in blocks)):
            if width < 8 or width % 8:
                raise UsageError(f"DepthwiseNet: {width} channels: widths are multiples of 8")
        layers: list[nn.Module] = [
            nn.Conv2d(channels, stem, 3, 2, 1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
        ]
        inputs = stem
        for width, stride in blocks:
            layers.append(_separable(inputs, width, stride))
            inputs = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        logits: Tensor = self.head(self.pool(self.features(x)).flatten(1))
        return logits
