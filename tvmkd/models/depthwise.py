"""The default student: depthwise-separable convolutions, and only operators with fast kernels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tvmkd.base.errors import UsageError
from tvmkd.models.scaling import kernels, scales

Blocks = Sequence[Sequence[int]]
BLOCKS: Blocks = ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1))


def _separable(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, kernel, stride, kernel // 2, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def _stages(blocks: Blocks) -> list[list[int]]:
    """Channels, stride and number of blocks of each stage.

    A stage is a block and the following blocks of the same resolution and channels.
    """
    stages: list[list[int]] = []
    for width, stride in blocks:
        if stages and stride == 1 and width == stages[-1][0]:
            stages[-1][2] += 1
        else:
            stages.append([width, stride, 1])
    return stages


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
        width: multiplier of the channels in ``stem`` and ``blocks``; one, or one for each stage:
            blocks of the same resolution and channels. The stem has that of the first stage.
        depth: multiplier of the blocks of a stage; one, or one for each.
        multiple: scaled channel counts are rounded to a multiple of this.
        kernel: pixels a side of the depthwise convolutions, odd; one, or one for each stage.

    Raises:
        UsageError: a width in ``stem`` or ``blocks`` is not a positive multiple of 8, or another
            argument is out of range.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        stem: int = 16,
        blocks: Blocks = BLOCKS,
        width: float | Sequence[float] = 1.0,
        depth: float | Sequence[float] = 1.0,
        multiple: int = 8,
        kernel: int | Sequence[int] = 3,
    ) -> None:
        super().__init__()
        stages = _stages(blocks)
        each = scales(width, depth, multiple, len(stages))
        sizes = kernels(kernel, [3] * len(stages))
        for count in (stem, *(count for count, _ in blocks)):
            if count < 8 or count % 8:
                raise UsageError(f"DepthwiseNet: {count} channels: widths are multiples of 8")
        inputs = each[0].channels(stem)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, inputs, 3, 2, 1, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
        ]
        for (count, stride, repeats), scale, size in zip(stages, each, sizes, strict=True):
            for index in range(scale.repeats(repeats)):
                outputs = scale.channels(count)
                layers.append(_separable(inputs, outputs, size, stride if index == 0 else 1))
                inputs = outputs
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(inputs, classes)

    @staticmethod
    def stages(blocks: Blocks = BLOCKS) -> int:
        """How many values ``width``, ``depth`` and ``kernel`` may have."""
        return len(_stages(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        logits: Tensor = self.head(self.pool(self.features(x)).flatten(1))
        return logits
