"""Sketches whose innermost tile fills a CPU's vector registers: where a search should start.

AutoScheduler draws the sizes of its tiles at random. Few of its draws keep as many sums in
registers as there are, and without that a convolution runs at a third of what the CPU can do. Here
the sizes of a sampled schedule are drawn anew so that the innermost tile is a few vectors wide and,
times its rows, six to fourteen registers large (as in Goto and van de Geijn, "Anatomy of
High-Performance Matrix Multiplication", 2008).
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

REGISTERS = (6, 14)  # vectors of sums: enough to hide a multiply-add's latency, two left to load
FLOAT_BYTES = 4
DEPTH = (4, 64)  # how much of a long reduction is done before the next tile
KERNEL = 7  # a reduction up to this long is a convolution's window
UNROLL = (16, 64, 512)
QUAD = 4  # values in the smallest vector worth having
SPATIAL_LEVELS, REDUCTION_LEVELS = 3, 1  # lengths in the split of each, tiling structure SSRSRS


def divisors(number: int) -> list[int]:
    """All of them, from 1 up."""
    return [each for each in range(1, number + 1) if number % each == 0]


def odd_vectors(line: Any) -> bool:
    """Whether the innermost tile is vectorised over a number of values that no vector has.

    Two, five or six at a time fill no register, and the first five records that builds with
    hhb-tvm 3.2.3 set aside as wrong were all such. Where an axis has no other divisors they are all
    there is.
    """
    found = _tiling(line["i"][1][1])
    if found is None:
        return False
    _, (*_, columns), _ = found
    extent, inner = columns[3], columns[4][-1]
    return bool(inner > 1 and inner % QUAD and extent % QUAD == 0)


def _tiling(steps: list[Any]) -> tuple[int, list[Any], list[Any]] | None:
    """The stage with multi-level tiling, and its splits of spatial axes and of reductions."""
    splits = [step for step in steps if step[0] == "SP"]
    levels = Counter(step[1] for step in splits if len(step[4]) == SPATIAL_LEVELS)
    if not levels:
        return None
    stage = levels.most_common(1)[0][0]
    spatial = [s for s in splits if s[1] == stage and len(s[4]) == SPATIAL_LEVELS]
    reductions = [s for s in splits if s[1] == stage and len(s[4]) == REDUCTION_LEVELS]
    if len(spatial) < 2 or not all(isinstance(step[3], int) for step in spatial + reductions):
        return None
    return stage, spatial, reductions


def retiled(line: Any, rng: np.random.Generator) -> Any | None:
    """A line of the log with its tile sizes drawn anew; None where it has no multi-level tiling.

    Args:
        line: as AutoScheduler writes it; stays as it is.
        rng: the only source of chance.
    """
    line = copy.deepcopy(line)
    lanes = max(1, line["i"][0][2][1] // FLOAT_BYTES)
    steps = line["i"][1][1]
    found = _tiling(steps)
    if found is None:
        return None
    stage, spatial, reductions = found
    *rows, columns = spatial
    vectors = _columns(columns, lanes, rng)
    for step in reversed(rows):
        vectors *= _rows(step, vectors, rng)
    for step in reductions:
        step[4] = [_depth(step[3], rng)]
    for step in steps:
        if step[0] == "PR" and step[1] == stage:
            step[3] = f"auto_unroll_max_step${rng.choice(UNROLL)}"
    return line


def _columns(step: list[Any], lanes: int, rng: np.random.Generator) -> int:
    """Sets the split of the axis that is vectorised; how many registers its inner part takes."""
    extent = step[3]
    fitting = [lanes * many for many in (1, 2, 4) if extent % (lanes * many) == 0]
    fitting = fitting or [max(each for each in divisors(extent) if each <= 2 * lanes)]
    inner = int(rng.choice(fitting))
    step[4] = [*_outer(extent // inner, rng), inner]
    return max(1, -(-inner // lanes))


def _rows(step: list[Any], vectors: int, rng: np.random.Generator) -> int:
    """Sets the split of another axis; how many of its values are in the innermost tile."""
    extent, (fewest, most) = step[3], REGISTERS
    able = [each for each in divisors(extent) if each * vectors <= most]
    good = [each for each in able if each * vectors >= fewest] or able[-1:] or [1]
    inner = 1 if vectors >= fewest else int(rng.choice(good))
    step[4] = [*_outer(extent // inner, rng), inner]
    return inner


def _outer(rest: int, rng: np.random.Generator) -> list[int]:
    middle = int(rng.choice(divisors(rest)))
    return [int(rng.choice(divisors(rest // middle))), middle]


def _depth(extent: int, rng: np.random.Generator) -> int:
    if extent <= KERNEL:
        return int(rng.choice([1, extent]))
    low, high = DEPTH
    able = [each for each in divisors(extent) if low <= each <= high]
    return int(rng.choice(able or [1]))
