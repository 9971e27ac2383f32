"""The scale of a student: multipliers of width and depth, and rounding of channel counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from tvmkd.base.errors import InputError, UsageError

SMALLEST = 8  # pixels: smaller images cannot be halved
LEAST_GRID = 4  # positions a side: in a smaller map a 3×3 convolution reads mostly padding


@dataclass(frozen=True)
class Scale:
    """Multipliers of a network's table of layers.

    Attributes:
        width: multiplier of channel counts (Howard et al., 2017, arXiv:1704.04861).
        depth: multiplier of the number of blocks (Tan & Le, 2019, arXiv:1905.11946).
        multiple: channel counts are rounded to a multiple of this.

    Raises:
        UsageError: a multiplier is not a number above 0, or ``multiple`` not a whole one.
    """

    width: float = 1.0
    depth: float = 1.0
    multiple: int = 8

    def __post_init__(self) -> None:
        for name, value in (("width", self.width), ("depth", self.depth)):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 < value < math.inf:
                raise UsageError(f"{name} = {value!r}: wants a number above 0, such as 0.5")
        if not _whole(self.multiple, 1):
            raise UsageError(f"multiple = {self.multiple!r}: wants a whole number, such as 8")

    def channels(self, count: float) -> int:
        """``count`` channels of the table, multiplied by the width and rounded."""
        return self.rounded(count * self.width)

    def rounded(self, count: float) -> int:
        """The nearest multiple of `multiple`, above zero and at least nine tenths of ``count``.

        The rule of MobileNet's reference code, torchvision's ``_make_divisible``.
        """
        step = self.multiple
        nearest = max(step, int(count + step / 2) // step * step)
        return nearest + step if nearest < 0.9 * count else nearest

    def repeats(self, count: int) -> int:
        """``count`` blocks of the table, multiplied by the depth and rounded up."""
        return math.ceil(round(count * self.depth, 6))


def strides(size: int, stages: int) -> list[int]:
    """The strides of the stem and of the stages; at least ``LEAST_GRID`` positions a side remain.

    The stem always halves the resolution, since full resolution costs the most; then as many of the
    last stages as the image allows. 224 pixels and five stages give the strides of MobileNets.

    Args:
        size: pixels a side.
        stages: number of stages, including the stem.

    Raises:
        UsageError: ``size`` is not a whole number of at least 8.
    """
    check_size(size)
    halvings = 1
    while halvings < stages and math.ceil(size / 2 ** (halvings + 1)) >= LEAST_GRID:
        halvings += 1
    return [2] + [1] * (stages - halvings) + [2] * (halvings - 1)


def check_size(size: int) -> None:
    """Checks that students support the image size.

    Raises:
        UsageError: ``size`` is not a whole number of at least 8.
    """
    if not _whole(size, SMALLEST):
        raise UsageError(f"size = {size!r}: wants the pixels a side, at least {SMALLEST}")


def check_image(x: Tensor, size: int) -> None:
    """Checks that images have the size of a network with fixed shapes.

    Raises:
        InputError: ``x`` is not ``[N, C, size, size]``.
    """
    height, width = x.shape[-2:]
    if (height, width) != (size, size):
        raise InputError(
            f"an image of {height}×{width} pixels for a network that was built for {size}×{size}; "
            f"build it with size = {height}"
        )


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
