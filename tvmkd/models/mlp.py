"""A micro-MLP for very small images: perceptrons over patches and over features, in turn.

Tolstikhin et al., 2021, "MLP-Mixer" (arXiv:2105.01601), with ReLU in place of GELU, whose error
function small boards have no instruction for.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from tvmkd.base.errors import UsageError
from tvmkd.models.scaling import Scale, check_image, check_size

GRID = 8  # patches a side, where none are asked for
FEATURES, TOKEN_HIDDEN, FEATURE_HIDDEN, BLOCKS = 32, 32, 64, 3


def _perceptron(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, inputs))


class MixerBlock(nn.Module):
    """Mixes tokens, then features, each after a normalisation and beside a shortcut.

    Args:
        tokens: patches of an image.
        features: of each token.
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

    Nothing but matrix products, normalisation and ReLU: the patches of the first layer do not
    overlap, so its convolution is a product too.

    Args:
        classes: number of classes.
        channels: channels of the image (1 gray, 3 RGB).
        size: pixels a side, 8 and more; all shapes are fixed by it. Where patches do not divide
            it, the image is padded with zeros.
        width: multiplier of features and hidden units.
        depth: multiplier of the blocks.
        multiple: features and hidden units are rounded to a multiple of this.
        patch: pixels a side of a patch; by default such that there are at most 8×8 of them.

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
    ) -> None:
        super().__init__()
        scale = Scale(width, depth, multiple)
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
                    scale.channels(FEATURE_HIDDEN),
                )
                for _ in range(scale.repeats(BLOCKS))
            )
        )
        self.norm = nn.LayerNorm(features)
        self.head = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images.

        Raises:
            InputError: the images have another size than ``size``.
        """
        check_image(x, self.size)
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return logits
