"""How large a student is: multipliers of its width and depth, and channels that fill registers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from tvmkd.base.errors import InputError, UsageError

SMALLEST = 8  # pixels: below this there is nothing left to halve
LEAST_GRID = 4  # positions a side, below which a convolution of 3×3 sees mostly its padding


@dataclass(frozen=True)
class Scale:
    """Multipliers of a network's table of layers.

    Attributes:
        width: multiplier of channel counts (Howard et al., 2017, arXiv:1704.04861).
        depth: multiplier of how often a block is repeated (Tan & Le, 2019, arXiv:1905.11946).
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
        """``count`` channels of the table, times the width, rounded."""
        return self.rounded(count * self.width)

    def rounded(self, count: float) -> int:
        """The nearest multiple, at least one, and never less than nine tenths of ``count``.

        The rule of MobileNet's reference code, torchvision's ``_make_divisible``.
        """
        step = self.multiple
        nearest = max(step, int(count + step / 2) // step * step)
        return nearest + step if nearest < 0.9 * count else nearest

    def repeats(self, count: int) -> int:
        """``count`` blocks of the table, times the depth, rounded up."""
        return math.ceil(round(count * self.depth, 6))


def strides(size: int, stages: int) -> list[int]:
    """The stride of the stem and of the stages after it, so that ``LEAST_GRID`` positions remain.

    The stem always halves, since the full resolution costs the most; then as many of the last
    stages do as the image allows. 224 pixels and five stages give what MobileNets have.

    Args:
        size: pixels a side.
        stages: how many, with the stem.

    Raises:
        UsageError: ``size`` is not a whole number of at least 8.
    """
    check_size(size)
    halvings = 1
    while halvings < stages and math.ceil(size / 2 ** (halvings + 1)) >= LEAST_GRID:
        halvings += 1
    return [2] + [1] * (stages - halvings) + [2] * (halvings - 1)


def check_size(size: int) -> None:
    """Refuses a size of an image that no student takes.

    Raises:
        UsageError: ``size`` is not a whole number of at least 8.
    """
    if not _whole(size, SMALLEST):
        raise UsageError(f"size = {size!r}: wants the pixels a side, at least {SMALLEST}")


def check_image(x: Tensor, size: int) -> None:
    """Refuses images that a network of fixed shapes was not built for.

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
