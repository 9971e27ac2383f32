"""The scale of a student: multipliers of width and depth, and rounding of channel counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from torch import Tensor

from tvmkd.base.errors import InputError, UsageError

SMALLEST = 8  # pixels: smaller images cannot be halved
LEAST_GRID = 4  # positions a side: in a smaller map a 3×3 convolution reads mostly padding

NumberT = TypeVar("NumberT", int, float)


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
            if not _positive(value):
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


def each_stage(
    name: str, value: NumberT | Sequence[NumberT] | None, default: Sequence[NumberT]
) -> list[NumberT]:
    """The value of an argument for each stage of a network.

    Args:
        name: of the argument, for messages.
        value: one for all stages, or a list with one for each; None: those of ``default``.
        default: the values of the stages if the argument is not given.

    Raises:
        UsageError: a list of another length.
    """
    if value is None:
        return list(default)
    if not isinstance(value, (list, tuple)):
        return [cast("NumberT", value)] * len(default)
    if len(value) != len(default):
        raise UsageError(
            f"{name} = {list(value)!r}: wants one number, or {len(default)}: one for each stage"
        )
    return list(value)


def scales(
    width: float | Sequence[float], depth: float | Sequence[float], multiple: int, stages: int
) -> list[Scale]:
    """The scale of each stage of a network.

    Args:
        width: multiplier of channel counts, one for all stages or one for each.
        depth: multiplier of the number of blocks, likewise.
        multiple: channel counts are rounded to a multiple of this.
        stages: how many there are.

    Raises:
        UsageError: as `Scale` and `each_stage`.
    """
    ones = [1.0] * stages
    pairs = zip(each_stage("width", width, ones), each_stage("depth", depth, ones), strict=True)
    return [Scale(*pair, multiple) for pair in pairs]


def kernels(value: int | Sequence[int] | None, default: Sequence[int]) -> list[int]:
    """The kernel size of each stage.

    Args:
        value: one for all stages, or a list with one for each; None: those of ``default``.
        default: the sizes of the stages if none are given.

    Raises:
        UsageError: a size is not odd, or a list has another length.
    """
    sizes = each_stage("kernel", value, default)
    for size in sizes:
        if not _whole(size, 1) or size % 2 == 0:
            raise UsageError(f"kernel = {size!r}: wants an odd number of pixels, such as 3 or 5")
    return sizes


def expansions(value: float | Sequence[float] | None, default: Sequence[float]) -> list[float]:
    """The expansion of the blocks of each stage: hidden channels as a multiple of the input's.

    Args:
        value: one for all stages, or a list with one for each; None: those of ``default``.
        default: the factors of the stages if none are given.

    Raises:
        UsageError: a factor is not a number above 0, or a list has another length.
    """
    factors = each_stage("expansion", value, default)
    for factor in factors:
        if not _positive(factor):
            raise UsageError(f"expansion = {factor!r}: wants a number above 0, such as 4")
    return factors


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


def _positive(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 < value < math.inf  # type: ignore[operator]


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
