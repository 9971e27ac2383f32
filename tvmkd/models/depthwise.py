"""The default student: depthwise-separable convolutions, and only operators with fast kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from tvmkd.base.errors import UsageError
from tvmkd.models.scaling import Scale


def _separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def _scaled(blocks: Sequence[Sequence[int]], scale: Scale) -> Iterator[tuple[int, int]]:
    """Blocks of the scaled network. ``depth`` multiplies the blocks of each stage.

    A stage is a block and the following blocks of the same resolution and channels.
    """
    stages: list[list[int]] = []
    for width, stride in blocks:
        if stages and stride == 1 and width == stages[-1][0]:
            stages[-1][2] += 1
        else:
            stages.append([width, stride, 1])
    for width, stride, count in stages:
        for index in range(scale.repeats(count)):
            yield scale.channels(width), stride if index == 0 else 1


class DepthwiseNet(nn.Module):
    """A depthwise-separable classifier: ``[N, channels, H, W]`` float32 to ``[N, classes]`` logits.

    Convolution, depthwise convolution, ReLU, one global average and one dense layer: operators that
    are fast with every compiler and on every board. Channel counts are rounded to multiples, so
    that blocks of channels fill vector registers.

    Args:
        classes: number of classes.
        channels: channels of the image (1 gray, 3 RGB).
        stem: channels of the first convolution, which halves the resolution.
        blocks: ``(channels, stride)`` of each separable block.
        width: multiplier of the channels in ``stem`` and ``blocks``.
        depth: multiplier of the blocks of each resolution and width.
        multiple: scaled channel counts are rounded to a multiple of this.

    Raises:
        UsageError: a width in ``stem`` or ``blocks`` is not a positive multiple of 8, or another
            argument is out of range.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        stem: int = 16,
        blocks: Sequence[Sequence[int]] = ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1)),
        width: float = 1.0,
        depth: float = 1.0,
        multiple: int = 8,
    ) -> None:
        super().__init__()
        scale = Scale(width, depth, multiple)
        for count in (stem, *(count for count, _ in blocks)):
            if count < 8 or count % 8:
                raise UsageError(f"DepthwiseNet: {count} channels: widths are multiples of 8")
        inputs = scale.channels(stem)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, inputs, 3, 2, 1, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
        ]
        for outputs, stride in _scaled(blocks, scale):
            layers.append(_separable(inputs, outputs, stride))
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        logits: Tensor = self.head(self.pool(self.features(x)).flatten(1))
        return logits
