"""Whether a 3x3 convolution is faster by Winograd's algorithm, and with which tiles.

Where the target file says what a line from memory costs (`Cpu.line`), the cycles of each way are
reckoned. Elsewhere a rule decides that was found by measuring on x86-64.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvmkd.stacks.relax import kernels, winograd
from tvmkd.stacks.relax.templates.cpu import Cpu

LEAST_CHANNELS, LEAST_TILES = 32, 16
"""Of the rule: the transformed weights are four times as large as the plain ones; with fewer than
16 tiles they are reused too little to be worth reading.
"""
LINE = 64
"""Bytes of a line of a cache."""
SUM = 1.06
"""Cycles of a multiply-add, with what is loaded for it."""
TRANSFORM = 8.0
"""Cycles of a register of a patch in each of the two transformations: it is loaded, stored, kept on
the stack between rows and columns, and takes part in three additions. (llvm-mca, on ResNet-18.)
"""
ENOUGH = 0.9
"""Larger tiles read more from memory, which all cores share: one core has to gain a tenth."""
STARTED = 3000.0
"""Cycles of two more kernels."""


def tile_for(
    weight: Sequence[int],
    out: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    cpu: Cpu,
    images: int = 1,
) -> int | None:
    """Rows, and columns, of the tiles of Winograd's algorithm; None: the plain sum is faster.

    Args:
        weight: ``[OC, IC, KH, KW]``.
        out: height and width of the output.
        images: of a batch.
    """
    channels, inner, *window = weight
    ones = [*strides, *dilation, groups]
    if window != [3, 3] or any(one != 1 for one in ones) or channels % kernels.LANES:
        return None
    if cpu.line is None:
        enough = min(channels, inner) >= LEAST_CHANNELS
        return winograd.TILE if enough and winograd.tiles(out, 4) >= LEAST_TILES else None
    if inner % cpu.lanes:
        return None
    best, least = None, _plain(channels, inner, out, images, cpu)
    for tile in sorted(winograd.FORMS):
        cycles = _by_tiles(channels, inner, out, images, cpu, tile)
        if cycles < ENOUGH * least:
            best, least = tile, cycles
    return best


def _plain(channels: int, inner: int, out: Sequence[int], images: int, cpu: Cpu) -> float:
    """Cycles of the plain sum; its input and output are left out: both ways read and write them."""
    pixels = images * out[0] * kernels.whole(out[1])
    return _sums(9 * pixels * channels * inner, cpu) + _memory(9 * channels * inner, cpu)


def _by_tiles(
    channels: int, inner: int, out: Sequence[int], images: int, cpu: Cpu, tile: int
) -> float:
    """Cycles by Winograd's algorithm."""
    points, tiles = winograd.FORMS[tile].patch ** 2, images * winograd.tiles(out, tile)
    between = points * tiles * (inner + channels)
    # Weights are in no cache: the other kernels' have been read since.
    return (
        _sums(points * tiles * channels * inner, cpu)
        + _memory(points * channels * inner, cpu)
        + TRANSFORM * between / cpu.lanes
        + (2 * _memory(between, cpu) if 4 * between > cpu.l2 else 0.0)
        + STARTED
    )


def _sums(count: int, cpu: Cpu) -> float:
    """Cycles of so many multiply-adds of single values."""
    return SUM * count / cpu.lanes / cpu.fma


def _memory(values: int, cpu: Cpu) -> float:
    """Cycles until so many values have come from memory."""
    assert cpu.line is not None
    return 4 * values / LINE * cpu.line
