"""What the templates share: finding blocks, inlining what is cheap, splitting loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm_ffi import structural_walk

MAX_VECTOR = 64
SPATIAL = 0
"""``IterVar.DataPar``: the iteration type of an axis that is not summed over."""


def blocks(sch: s_tir.Schedule) -> list[Any]:
    """The blocks of ``main``, in program order."""
    return list(sch.get_child_blocks(sch.get_sblock("root")))


def is_reduction(sch: s_tir.Schedule, block: Any) -> bool:
    """Whether a block has a reduction axis."""
    return any(int(axis.iter_type) == tirx.IterVar.CommReduce for axis in sch.get(block).iter_vars)


def named(sch: s_tir.Schedule, name: str) -> Any | None:
    """The block called ``name``, None where there is none."""
    for block in blocks(sch):
        if sch.get(block).name_hint == name:
            return block
    return None


def extents(sch: s_tir.Schedule, block: Any) -> list[int]:
    """The extents of the loops round a block, outermost first."""
    return [int(sch.get(loop).extent) for loop in sch.get_loops(block)]


def is_output(sch: s_tir.Schedule, block: Any) -> bool:
    """Whether nothing reads what a block writes."""
    return not list(sch.get_consumers(block))


def inline_cheap(sch: s_tir.Schedule, keep: Sequence[str] = ()) -> None:
    """Inlines every elementwise block into its readers, but for outputs and those in ``keep``."""
    for block in blocks(sch):
        if is_reduction(sch, block) or is_output(sch, block) or sch.get(block).name_hint in keep:
            continue
        try:
            sch.compute_inline(block)
        except s_tir.ScheduleError:
            continue


def before_broadcasts(sch: s_tir.Schedule, total: Any) -> list[str]:
    """The elementwise blocks whose result is read by more than one element of their reader, and
    which are no larger than ``total``: inlined, they would be computed again for each pixel.
    """
    size = math.prod(space_extents(sch, total))
    return [
        sch.get(block).name_hint
        for block in blocks(sch)
        if not is_reduction(sch, block)
        and math.prod(extents(sch, block)) <= size
        and any(math.prod(extents(sch, other)) > size for other in sch.get_consumers(block))
    ]


def chain(sch: s_tir.Schedule, total: Any, keep: str) -> tuple[Any, Any] | None:
    """The block that reads ``total``, and the one behind it that broadcasts its result, or None.

    None instead of both where the kernel has other blocks, besides the one called ``keep``.
    """
    out = last = epilogue_of(sch, total)
    if not is_output(sch, out):
        last, *more = sch.get_consumers(out)
        if more or not is_output(sch, last):
            return None
    known = {sch.get(block).name_hint for block in (total, out, last)} | {keep}
    if any(sch.get(block).name_hint not in known for block in blocks(sch)):
        return None
    return out, None if out.same_as(last) else last


def epilogue_of(sch: s_tir.Schedule, block: Any) -> Any:
    """The one block that reads ``block``'s result; a copy is made where nothing does."""
    consumers = list(sch.get_consumers(block))
    if not consumers:
        return sch.cache_write(block, 0, "local")
    if len(consumers) > 1:
        raise ValueError("more than one reader")
    return consumers[0]


def divisors(n: int, most: int) -> list[int]:
    """The divisors of ``n`` up to ``most``."""
    return [d for d in range(1, min(n, most) + 1) if n % d == 0]


def vector_width(extent: int) -> int:
    """How many neighbours to compute at once: whole registers, or all of a ragged row.

    LLVM splits a vector of any width into registers and a tail; a predicate inside a vectorised
    loop, the other way, turns it into scalar code.
    """
    for width in (16, 8, 4):
        if extent % width == 0:
            return width
    return extent if extent <= MAX_VECTOR else max(divisors(extent, MAX_VECTOR))


def _constants_against(sch: s_tir.Schedule, block: Any, kind: type) -> list[int]:
    """The constants that a block's last axis is compared with, or divided by: see ``kind``."""
    axis = sch.get(block).iter_vars[-1]
    found: list[int] = []

    def look(node: Any) -> None:
        if node.a.same_as(axis.var) and isinstance(node.b, tirx.IntImm):
            found.append(int(node.b.value))

    structural_walk(sch.get(block).body, (kind, look))
    return found


def alike(sch: s_tir.Schedule, block: Any) -> int:
    """How many neighbours on a block's last axis are treated alike: all of them, or those between
    the conditions of a concatenation (`tvmkd.stacks.relax.concatenation`).
    """
    extent = int(sch.get(block).iter_vars[-1].dom.extent)
    return math.gcd(extent, *_constants_against(sch, block, tirx.LT))


FEW = 8
"""Neighbours that `repeats` counts at most: they become straight-line code."""


def repeats(sch: s_tir.Schedule, block: Any) -> int:
    """How many neighbours on a block's last axis read the same value (``x[..., c // 2]``); 1 where
    they are more than `FEW`, or several numbers: whole vectors then lie between two values.
    """
    extent = int(sch.get(block).iter_vars[-1].dom.extent)
    found = set(_constants_against(sch, block, tirx.FloorDiv))
    one = found.pop() if len(found) == 1 else 1
    return one if one <= FEW and extent % one == 0 else 1


def space_extents(sch: s_tir.Schedule, block: Any) -> list[int]:
    """The extents of the axes that a block does not sum over."""
    axes = sch.get(block).iter_vars
    return [int(axis.dom.extent) for axis in axes if int(axis.iter_type) == SPATIAL]


COSTS = {"tirx.erf": 30, "tirx.exp": 16, "tirx.log": 24, "tirx.sigmoid": 24, "tirx.tanh": 30,
         "tvmkd.gelu": 26, "tvmkd.exp_negative": 13}  # fmt: skip
"""Instructions of a vectorised function, see `tvmkd.stacks.relax.vector_math`."""


def operations(sch: s_tir.Schedule, block: Any) -> int:
    """Roughly the instructions that one element of a block takes, its loads included."""
    found = 0

    def call(node: Any) -> None:
        nonlocal found
        found += COSTS.get(getattr(node.op, "name", ""), 1)

    def load(_node: Any) -> None:
        nonlocal found
        found += 1

    body = sch.get(block).body
    structural_walk(body, (tvm.ir.Call, call))
    structural_walk(body, (tvm.ir.TensorLoad, load))
    return found


def bytes_of(buffer: Any) -> int:
    """Of a float32 buffer."""
    return 4 * math.prod(int(size) for size in buffer.shape)


def covers(sch: s_tir.Schedule, total: Any, out: Any) -> bool:
    """Whether ``total`` has all that ``out`` reads and, of each pixel, no channel more."""
    computed, wanted = space_extents(sch, total), extents(sch, out)
    return (
        len(computed) == len(wanted)
        and computed[-1] == wanted[-1]
        and all(have >= need for have, need in zip(computed, wanted, strict=True))
    )


TURNS = 48
"""Of the loop that threads share: enough for each of some threads to get its part."""


def share(sch: s_tir.Schedule, loops: Sequence[Any], *, parallel: bool) -> Any:
    """Has threads share the outermost loops, as few as give them `TURNS`.

    All loops as one would need divisions to find its place in each turn: three times the time of a
    pooling layer.

    Args:
        loops: one inside the other, outermost first.
        parallel: False: leave the loops as they are.

    Returns:
        the innermost loop.
    """
    if not parallel:
        return loops[-1]
    count, turns = 0, 1
    while count < len(loops) and turns < TURNS:
        turns *= int(sch.get(loops[count]).extent)
        count += 1
    shared = sch.fuse(*loops[:count]) if count > 1 else loops[0]
    sch.parallel(shared)
    return loops[-1] if count < len(loops) else shared


def spread(sch: s_tir.Schedule, block: Any, *, parallel: bool, width: int | None = None) -> None:
    """Schedules a block without reduction: rows over threads, the innermost axis in vectors."""
    *outer, inner = sch.get_loops(block)
    extent = int(sch.get(inner).extent)
    same = repeats(sch, block)
    if same > 1:
        # LLVM stores one vector several times, interleaved; TVM would load each value of a vector.
        left, again = sch.split(inner, [None, same])
        share(sch, outer or [left], parallel=parallel)
        sch.unroll(again)
        return
    left, lanes = sch.split(inner, [None, width or vector_width(extent)])
    share(sch, [*outer, left], parallel=parallel)
    sch.vectorize(lanes)


def unroll_tile(sch: s_tir.Schedule, loops: Sequence[Any]) -> None:
    """Straight-line code for a register tile: the last loop in vectors, the others unrolled."""
    for loop in loops[:-1]:
        sch.unroll(loop)
    sch.vectorize(loops[-1])


def vectorize_rows(sch: s_tir.Schedule, block: Any) -> None:
    """The innermost loop round a block in vectors."""
    last = sch.get_loops(block)[-1]
    same = repeats(sch, block)
    if same > 1:
        sch.unroll(sch.split(last, [None, same])[1])
        return
    _, lanes = sch.split(last, [None, vector_width(int(sch.get(last).extent))])
    sch.vectorize(lanes)


ON_STACK = 256
"""Floats: TVM keeps smaller arrays on the stack, where LLVM turns them into registers."""


def load_together(
    sch: s_tir.Schedule, total: Any, step: Any, count: int, *, rows: bool = False
) -> None:
    """Loads what a sum reads first in ``count`` steps by whole vectors, into registers.

    Args:
        total: the sum.
        step: the loop inside which ``count`` steps are taken.
        rows: ``count`` is the floats of whole rows of windows instead.

    Raises:
        ValueError: these are no neighbours, or too many.
    """
    copy = sch.cache_read(total, 0, "global")  # TVM puts no array of the scope "local" there
    sch.compute_at(copy, step, preserve_unit_loops=True)
    loops = sch.get_loops(copy)[-len(sch.get(copy).iter_vars) :]
    if rows:
        loops = [*loops[:-2], sch.fuse(*loops[-2:])]
    extents = [sch.get(loop).extent for loop in loops]
    if not all(isinstance(extent, tirx.IntImm) for extent in extents):
        raise ValueError("not the inputs of a tile")
    sizes = [int(extent) for extent in extents]
    if sizes[-1] != count or math.prod(sizes) >= ON_STACK:
        raise ValueError("not the inputs of a tile")
    unroll_tile(sch, loops)


def sum_in_registers(
    sch: s_tir.Schedule,
    total: Any,
    *,
    lanes: int | None = None,
    unroll_folds: bool = False,
    together: int = 1,
    turns: int = 1,
    run: int | None = None,
) -> None:
    """Makes a reduction that was computed at its reader keep a tile of sums in registers.

    Args:
        total: the reduction; the loops of its tile are the innermost ones round it.
        lanes: split the innermost spatial loop into blocks of so many.
        unroll_folds: unroll the loops of the reduction too.
        together: steps of the innermost of them whose inputs are loaded by one instruction: for
            a tile of one block they stay for one pixel, and the weights of the steps for the tile;
            for a tile of more blocks, the other way round.
        turns: of the loop over such steps that are written one after the other.
        run: floats of the rows of all windows of a tile, which are loaded as a whole.
    """
    sch.set_scope(total, 0, "local")
    kinds = [int(axis.iter_type) for axis in sch.get(total).iter_vars]
    inner = sch.get_loops(total)[-len(kinds) :]
    space = [loop for loop, kind in zip(inner, kinds, strict=True) if kind == SPATIAL]
    folds = [loop for loop, kind in zip(inner, kinds, strict=True) if kind != SPATIAL]
    if lanes is not None:
        space += sch.split(space.pop(), [None, lanes])
    if run is not None:
        step = folds[-3]
        near = sch.fuse(*folds[-2:])
        folds = folds[:-2]
        sch.reorder(*folds, near, *space)
        load_together(sch, total, step, run, rows=True)
        sch.unroll(near)
    elif together > 1:
        left, step, near = sch.split(folds.pop(), [None, turns, together])
        one_block = int(sch.get(space[-2]).extent) == 1
        inside = [*space[:-2], near, *space[-2:]] if one_block else [near, *space]
        sch.reorder(*folds, left, step, *inside)
        load_together(sch, total, space[-3] if one_block else step, together)
        sch.unroll(near)
        sch.unroll(step)
        folds.append(left)
    else:
        sch.reorder(*folds, *space)
    if unroll_folds:
        for loop in folds:
            sch.unroll(loop)
    unroll_tile(sch, space)
    start = sch.decompose_reduction(total, folds[0])
    unroll_tile(sch, sch.get_loops(start)[-len(space) :])
