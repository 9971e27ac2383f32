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

from tvmkd.base.errors import UsageError
from tvmkd.models.attention import HEADS, KEEP, WINDOW, Attention, Make, maker
from tvmkd.models.bottleneck import InvertedResidual
from tvmkd.models.scaling import check_image, expansions, kernels, scales, strides

EXPANSION = 2
# Channels and blocks of the convolutional stages, then (channels, features, layers) of the hybrid
# stages. A hybrid stage starts with one bottleneck, which may halve the resolution.
CONVOLUTIONS = ((24, 1), (32, 2))
HYBRIDS = ((48, 64, 2), (64, 80, 2))
STEM, HEAD = 16, 256
PATCH = 2


class TransformerLayer(nn.Module):
    """Attention and a two-layer perceptron, each after a normalisation and with a shortcut."""

    def __init__(self, features: int, attention: Attention | None = None) -> None:
        super().__init__()
        attention = attention or Attention(features)
        self.attend = nn.Sequential(nn.LayerNorm(features), attention)
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

    The map is divided into patches, and attention connects the same position of all patches, as in
    the paper; a map that patches do not divide has patches of 1×1.

    Args:
        channels: channels of the map.
        features: features of a token.
        layers: layers of the transformer.
        side: side of the map, positions.
        patch: side of a patch, positions.
        attention: makes the attention of each layer; None: `Attention`.
    """

    def __init__(
        self,
        channels: int,
        features: int,
        layers: int,
        side: int,
        patch: int = PATCH,
        attention: Make | None = None,
    ) -> None:
        super().__init__()
        attention = attention or maker("full")
        self.side = side
        self.patch = 1 if side % patch else patch
        grid = side // self.patch
        self.local = nn.Sequential(
            Conv2dNormActivation(channels, channels, 3, activation_layer=nn.Hardswish),
            nn.Conv2d(channels, features, 1, bias=False),
        )
        self.transformer = nn.Sequential(
            *(TransformerLayer(features, attention(features, grid)) for _ in range(layers)),
            nn.LayerNorm(features),
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
        attention: ``full``, ``window``, ``linear``, ``topk`` or ``topk-gather``; see
            `tvmkd.models.attention`.
        window: tokens a side of a window, at most.
        keep: keys that a query of ``topk`` attends to.
        patch: side of a patch, positions; 1: every position attends to every other.

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
        attention: str = "full",
        window: int = WINDOW,
        keep: int = KEEP,
        patch: int = PATCH,
    ) -> None:
        super().__init__()
        if not isinstance(patch, int) or isinstance(patch, bool) or patch < 1:
            raise UsageError(f"patch = {patch!r}: wants the positions a side, such as 1 or 2")
        make = maker(attention, window, keep)
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
            width, repeats = scale.channels(features), scale.repeats(depths)
            layers.append(MobileVitBlock(inputs, width, repeats, side, patch, make))
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
