"""A micro-MLP for very small images: alternating perceptrons over patches and over features.

Tolstikhin et al., 2021, "MLP-Mixer" (arXiv:2105.01601), with ReLU instead of GELU, whose error
function is slow on small boards.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from tvmkd.base.errors import UsageError
from tvmkd.models.scaling import Scale, check_image, check_size, expansions

GRID = 8  # default number of patches per side
FEATURES, TOKEN_HIDDEN, BLOCKS = 32, 32, 3
EXPANSION = 2


def _perceptron(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, inputs))


class MixerBlock(nn.Module):
    """Mixes tokens, then features, each after a normalisation and with a shortcut.

    Args:
        tokens: number of patches of an image.
        features: features of each token.
        token_hidden: units between the two layers that mix tokens.
        feature_hidden: units between the two layers that mix features.
    """

    def __init__(self, tokens: int, features: int, token_hidden: int, feature_hidden: int) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(features)
        self.token_mix = _perceptron(tokens, token_hidden)
        self.feature_norm = nn.LayerNorm(features)
        self.feature_mix = _perceptron(features, feature_hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``[N, tokens, features]`` to the same shape."""
        x = x + self.token_mix(self.token_norm(x).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.feature_mix(self.feature_norm(x))
        return out


class MixerNet(nn.Module):
    """An MLP-Mixer classifier: ``[N, channels, size, size]`` float32 to ``[N, classes]`` logits.

    Only matrix products, normalisation and ReLU: the patches of the first layer do not overlap, so
    its convolution is a matrix product too.

    Args:
        classes: number of classes.
        channels: channels of the image (1 gray, 3 RGB).
        size: side of the images, pixels, at least 8; it determines all shapes. If it is not a
            multiple of the patch, the image is padded with zeros.
        width: multiplier of features and hidden units.
        depth: multiplier of the blocks.
        multiple: features and hidden units are rounded to a multiple of this.
        patch: side of a patch, pixels; the default gives at most 8×8 patches.
        expansion: units between the two layers that mix features, as a multiple of the features.

    Raises:
        UsageError: an argument is out of range.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        size: int = 32,
        width: float = 1.0,
        depth: float = 1.0,
        multiple: int = 8,
        patch: int | None = None,
        expansion: float = EXPANSION,
    ) -> None:
        super().__init__()
        scale = Scale(width, depth, multiple)
        (factor,) = expansions(expansion, [EXPANSION])
        check_size(size)
        if patch is None:
            patch = math.ceil(size / GRID)
        if not isinstance(patch, int) or not 1 <= patch <= size:
            raise UsageError(f"patch = {patch!r}: wants the pixels a side, 1 to {size}")
        grid = math.ceil(size / patch)
        features = scale.channels(FEATURES)
        self.size = size
        self.embed = nn.Conv2d(
            channels, features, patch, patch, padding=math.ceil((grid * patch - size) / 2)
        )
        self.blocks = nn.Sequential(
            *(
                MixerBlock(
                    grid * grid,
                    features,
                    scale.channels(TOKEN_HIDDEN),
                    scale.channels(factor * FEATURES),
                )
                for _ in range(scale.repeats(BLOCKS))
            )
        )
        self.norm = nn.LayerNorm(features)
        self.head = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images.

        Raises:
            InputError: the size of the images is not ``size``.
        """
        check_image(x, self.size)
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return logits
