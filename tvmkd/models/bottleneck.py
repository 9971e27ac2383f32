"""A small network of MobileNetV3's blocks: inverted residuals with squeeze-and-excitation.

Howard et al., 2019, "Searching for MobileNetV3" (arXiv:1905.02244), section 5. The layers are
torchvision's; its ``mobilenet_v3_small`` is made for 224 pixels and rounds channels to multiples of
8 only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation, SqueezeExcitation

from tvmkd.models.scaling import expansions, kernels, scales, strides


class Stage(NamedTuple):
    """A row of the paper's tables: blocks of the same resolution."""

    channels: int
    expansion: int
    kernel: int
    blocks: int
    squeeze: bool
    activation: type[nn.Module]


# As in the paper, hard-swish only in layers with many channels and few positions.
STAGES = (
    Stage(16, 1, 3, 1, True, nn.ReLU),
    Stage(24, 3, 3, 2, False, nn.ReLU),
    Stage(40, 4, 5, 2, True, nn.Hardswish),
    Stage(64, 4, 5, 2, True, nn.Hardswish),
)
STEM, HEAD = 16, 256


class InvertedResidual(nn.Module):
    """MobileNetV3's block: expansion, depthwise convolution, channel weights, projection.

    It has a shortcut if the shapes of input and output agree.

    Args:
        inputs: channels of the input.
        hidden: channels after the expansion; if equal to ``inputs``, there is no expansion.
        outputs: channels of the output.
        kernel: pixels a side of the depthwise convolution.
        stride: stride of the depthwise convolution.
        squeeze: channels of squeeze-and-excitation; None: without it.
        activation: class of the activation, with an argument ``inplace``.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        squeeze: int | None = None,
        activation: type[nn.Module] = nn.Hardswish,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hidden != inputs:
            layers.append(Conv2dNormActivation(inputs, hidden, 1, activation_layer=activation))
        layers.append(
            Conv2dNormActivation(
                hidden, hidden, kernel, stride, groups=hidden, activation_layer=activation
            )
        )
        if squeeze is not None:
            layers.append(SqueezeExcitation(hidden, squeeze, scale_activation=nn.Hardsigmoid))
        layers.append(Conv2dNormActivation(hidden, outputs, 1, activation_layer=None))
        self.block = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``[N, inputs, H, W]`` to ``[N, outputs, H / stride, W / stride]``."""
        y: Tensor = self.block(x)
        return x + y if self.shortcut else y


class BottleneckNet(nn.Module):
    """A MobileNetV3-like classifier: ``[N, channels, H, W]`` float32 to ``[N, classes]`` logits.

    Args:
        classes: number of classes.
        channels: channels of the image (1 gray, 3 RGB).
        size: side of the images, pixels, at least 8: determines which stages halve the resolution.
            Shapes of weights do not depend on it.
        width: multiplier of channel counts; one, or one for each of the four stages. The stem has
            that of the first stage, the last convolution that of the last.
        depth: multiplier of the blocks of a stage; one, or one for each.
        multiple: channel counts are rounded to a multiple of this.
        kernel: pixels a side of the depthwise convolutions, odd; one, or one for each stage; None:
            those of `STAGES`.
        expansion: hidden channels of a block as a multiple of its input's; one, or one for each
            stage; None: those of `STAGES`.

    Raises:
        UsageError: an argument is out of range.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        size: int = 32,
        width: float | Sequence[float] = 1.0,
        depth: float | Sequence[float] = 1.0,
        multiple: int = 8,
        kernel: int | Sequence[int] | None = None,
        expansion: float | Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        each = scales(width, depth, multiple, len(STAGES))
        sizes = kernels(kernel, [stage.kernel for stage in STAGES])
        factors = expansions(expansion, [stage.expansion for stage in STAGES])
        first, *others = strides(size, 1 + len(STAGES))
        inputs = each[0].channels(STEM)
        layers: list[nn.Module] = [
            Conv2dNormActivation(channels, inputs, 3, first, activation_layer=nn.Hardswish)
        ]
        rows = zip(STAGES, others, each, sizes, factors, strict=True)
        for stage, stride, scale, pixels, factor in rows:
            outputs = scale.channels(stage.channels)
            for index in range(scale.repeats(stage.blocks)):
                hidden = scale.rounded(factor * inputs)
                layers.append(
                    InvertedResidual(
                        inputs,
                        hidden,
                        outputs,
                        kernel=pixels,
                        stride=stride if index == 0 else 1,
                        squeeze=scale.rounded(hidden / 4) if stage.squeeze else None,
                        activation=stage.activation,
                    )
                )
                inputs = outputs
        outputs = each[-1].channels(HEAD)
        layers.append(Conv2dNormActivation(inputs, outputs, 1, activation_layer=nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(outputs, classes)

    @staticmethod
    def stages() -> int:
        """How many values ``width``, ``depth``, ``kernel`` and ``expansion`` may have."""
        return len(STAGES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        logits: Tensor = self.head(self.pool(self.features(x)).flatten(1))
        return logits
