"""How many queries of an attention are computed together, and whether in one kernel at all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tvmkd.stacks.relax.kernels import LANES

if TYPE_CHECKING:
    from tvmkd.stacks.relax.templates.cpu import Cpu

SAVED = 1.5
"""Cycles a score that are saved because no score is written to memory, read, or copied."""


def block_for(
    rows: int, columns: int, inner: int, size: int, cpu: Cpu, gathered: int = 0
) -> int | None:
    """How many queries to compute together.

    Args:
        rows, columns: queries and keys.
        inner, size: of a query, and of a value.
        gathered: how many tensors whose rows are those of the queries change the scores.
        cpu: of the target.

    Returns:
        a multiple of `LANES`; None: to write the scores to memory is expected to be faster.
    """
    if rows < 4 or columns < LANES or inner < 2 or size < 4 or vector(size, cpu) < 4:
        return None
    least: tuple[float, int] | None = None
    for block in range(LANES, 3 * max(cpu.lanes, LANES) + 1, LANES):
        cycles = block_cycles(block, rows, columns, inner, size, cpu)
        # The values for the queries of a vector are loaded one by one; where the last block is not
        # full, each load has a condition.
        cycles += gathered * rows * columns * (1.0 if rows % block == 0 else 2.5)
        if least is None or cycles < least[0]:
            least = cycles, block
    assert least is not None
    apart = rows * columns * ((inner + size) / (cpu.lanes * cpu.fma) + SAVED)
    apart += rows * inner + columns * (inner + size)  # heads are split, the right sides packed
    return least[1] if least[0] <= apart else None


def block_cycles(block: int, rows: int, columns: int, inner: int, size: int, cpu: Cpu) -> float:
    """Cycles of all products of one head, its keys and values read again for each block."""
    lanes = vector(block, cpu)
    each = -(-lanes // cpu.lanes) / (lanes * cpu.fma)  # of a product
    wide = size / vector(size, cpu)
    read = 4 * columns * (inner + size)
    products = columns * block * (inner * each + wide / cpu.fma)
    # Lines of 64 bytes: half a line a cycle from the second cache, a quarter from the third.
    far = read / 32 if read > cpu.l1 // 2 else 0.0
    if read + 4 * columns * block > cpu.l2:
        far = read / 16
    return math.ceil(rows / block) * (max(products, far) + far / 8 + block * inner)


def vector(extent: int, cpu: Cpu) -> int:
    """The widest vector that divides an extent, in floats."""
    return next(w for w in (cpu.lanes, LANES, 4, 2, 1) if w <= cpu.lanes and extent % w == 0)
