"""A small network after MobileViT: convolutions for local and attention for global context.

Mehta & Rastegari, 2022, "MobileViT" (arXiv:2110.02178). It has hard-swish instead of SiLU, which
needs an exponential at every position, and two MobileViT blocks instead of three.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from tvmkd.models.bottleneck import InvertedResidual
from tvmkd.models.scaling import check_image, expansions, kernels, scales, strides

HEADS = 4
EXPANSION = 2
# Channels and blocks of the convolutional stages, then (channels, features, layers) of the hybrid
# stages. A hybrid stage starts with one bottleneck, which may halve the resolution.
CONVOLUTIONS = ((24, 1), (32, 2))
HYBRIDS = ((48, 64, 2), (64, 80, 2))
STEM, HEAD = 16, 256


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017) as two matrix products and a softmax.

    Not a fused operator: its decomposition would depend on the exporter, and compilers support
    these three operators.

    Args:
        features: features of each token; a multiple of ``heads``.
        heads: number of attention heads.
    """

    def __init__(self, features: int, heads: int = HEADS) -> None:
        super().__init__()
        self.heads = heads
        self.mix = nn.Linear(features, 3 * features)
        self.out = nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``[N, tokens, features]`` to the same shape."""
        tokens, features = x.shape[1:]
        split = (-1, tokens, self.heads, features // self.heads)
        query, key, value = (part.reshape(split) for part in self.mix(x).chunk(3, dim=-1))
        # Scales the smaller factor, not the tokens × tokens scores.
        query = query.transpose(1, 2) * split[-1] ** -0.5
        weights = (query @ key.permute(0, 2, 3, 1)).softmax(-1)
        mixed = (weights @ value.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.out(mixed.reshape(-1, tokens, features))
        return out


class TransformerLayer(nn.Module):
    """Attention and a two-layer perceptron, each after a normalisation and with a shortcut."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(nn.LayerNorm(features), Attention(features))
        self.transform = nn.Sequential(
            nn.LayerNorm(features),
            nn.Linear(features, EXPANSION * features),
            nn.Hardswish(),
            nn.Linear(EXPANSION * features, features),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``[N, tokens, features]`` to the same shape."""
        x = x + self.attend(x)
        out: Tensor = x + self.transform(x)
        return out


class MobileVitBlock(nn.Module):
    """Combines local features (convolutions) with global ones (transformer).

    The map is divided into patches of 2×2, and attention connects the same position of all patches,
    as in the paper; a map of odd side has patches of 1×1.

    Args:
        channels: channels of the map.
        features: features of a token.
        layers: layers of the transformer.
        side: side of the map, positions.
    """

    def __init__(self, channels: int, features: int, layers: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.patch = 1 if side % 2 else 2
        self.local = nn.Sequential(
            Conv2dNormActivation(channels, channels, 3, activation_layer=nn.Hardswish),
            nn.Conv2d(channels, features, 1, bias=False),
        )
        self.transformer = nn.Sequential(
            *(TransformerLayer(features) for _ in range(layers)), nn.LayerNorm(features)
        )
        self.project = Conv2dNormActivation(features, channels, 1, activation_layer=nn.Hardswish)
        self.fuse = Conv2dNormActivation(2 * channels, channels, 3, activation_layer=nn.Hardswish)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``[N, channels, side, side]`` to the same shape."""
        y = self._fold(self.transformer(self._unfold(self.local(x))))
        out: Tensor = self.fuse(torch.cat([x, self.project(y)], dim=1))
        return out

    def _unfold(self, x: Tensor) -> Tensor:
        """Maps ``[N, features, side, side]`` to ``[N · patch², patches, features]``."""
        features, patch, grid = x.shape[1], self.patch, self.side // self.patch
        cut = x.reshape(-1, features, grid, patch, grid, patch)
        return cut.permute(0, 3, 5, 2, 4, 1).reshape(-1, grid * grid, features)

    def _fold(self, x: Tensor) -> Tensor:
        """The inverse of `_unfold`."""
        features, patch, grid = x.shape[2], self.patch, self.side // self.patch
        cut = x.reshape(-1, patch, patch, grid, grid, features)
        return cut.permute(0, 5, 3, 1, 4, 2).reshape(-1, features, self.side, self.side)


class MobileVitNet(nn.Module):
    """A hybrid classifier: ``[N, channels, size, size]`` float32 to ``[N, classes]`` logits.

    Args:
        classes: number of classes.
        channels: channels of the image (1 gray, 3 RGB).
        size: side of the images, pixels, at least 8; it determines all shapes.
        width: multiplier of channel counts and of the features of tokens; one, or one for each of
            the four stages. The stem has that of the first stage, the last convolution that of the
            last.
        depth: multiplier of blocks and of transformer layers; one, or one for each stage. A hybrid
            stage keeps its one bottleneck.
        multiple: channel counts are rounded to a multiple of this; features of tokens to a multiple
            of both this and the heads.
        kernel: pixels a side of the bottlenecks' depthwise convolutions, odd; one, or one for each
            stage.
        expansion: hidden channels of a bottleneck as a multiple of its input's; one, or one for
            each stage.

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
        kernel: int | Sequence[int] = 3,
        expansion: float | Sequence[float] = EXPANSION,
    ) -> None:
        super().__init__()
        stages = self.stages()
        each = scales(width, depth, multiple, stages)
        tokens = scales(width, depth, math.lcm(multiple, HEADS), stages)
        sizes = kernels(kernel, [3] * stages)
        factors = expansions(expansion, [EXPANSION] * stages)
        first, *others = strides(size, 1 + stages)
        inputs, side = each[0].channels(STEM), math.ceil(size / first)
        layers: list[nn.Module] = [
            Conv2dNormActivation(channels, inputs, 3, first, activation_layer=nn.Hardswish)
        ]

        def bottleneck(stage: int, count: int, stride: int) -> int:
            outputs = each[stage].channels(count)
            hidden = each[stage].rounded(factors[stage] * inputs)
            layers.append(
                InvertedResidual(inputs, hidden, outputs, kernel=sizes[stage], stride=stride)
            )
            return outputs

        for stage, (count, blocks) in enumerate(CONVOLUTIONS):
            side = math.ceil(side / others[stage])
            for index in range(each[stage].repeats(blocks)):
                inputs = bottleneck(stage, count, others[stage] if index == 0 else 1)
        for stage, (count, features, depths) in enumerate(HYBRIDS, len(CONVOLUTIONS)):
            side = math.ceil(side / others[stage])
            inputs = bottleneck(stage, count, others[stage])
            scale = tokens[stage]
            layers.append(
                MobileVitBlock(inputs, scale.channels(features), scale.repeats(depths), side)
            )
        outputs = each[-1].channels(HEAD)
        layers.append(Conv2dNormActivation(inputs, outputs, 1, activation_layer=nn.Hardswish))
        self.size = size
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(outputs, classes)

    @staticmethod
    def stages() -> int:
        """How many values ``width``, ``depth``, ``kernel`` and ``expansion`` may have."""
        return len(CONVOLUTIONS) + len(HYBRIDS)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images.

        Raises:
            InputError: the size of the images is not ``size``.
        """
        check_image(x, self.size)
        logits: Tensor = self.head(self.pool(self.features(x)).flatten(1))
        return logits
