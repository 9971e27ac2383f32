"""Depthwise convolutions of bytes: interleaved pixels in the cache, a register tile of sums.

A chunk of rows and channels is interleaved at a time (`tvmkd.stacks.relax.interleave`), so that it
is in the first or second cache when it is multiplied.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from tvm import s_tir

from tvmkd.stacks.relax import interleave
from tvmkd.stacks.relax.dot_products import ALL, Dot, intrinsic_each
from tvmkd.stacks.relax.kernels import PAD
from tvmkd.stacks.relax.quantized_kernels import DEPTHWISE_DOT
from tvmkd.stacks.relax.templates import primitives as p
from tvmkd.stacks.relax.templates.cpu import Cpu

SPARE = 5
"""Registers for what is multiplied."""
INTERLEAVING = 10.0
"""Cycles in which a register of words is made and stored; measured on Zen 4, as is the next."""
WAITING = 0.4
"""Cycles that an instruction waits."""


def _parts(sch: s_tir.Schedule) -> tuple[Any, Any, bool] | None:
    """The sum, its reader, and whether both have the same shape."""
    if p.named(sch, DEPTHWISE_DOT) is None:
        return None
    p.inline_cheap(sch, keep=(PAD, interleave.BLOCK))
    total = p.named(sch, DEPTHWISE_DOT)
    out = p.epilogue_of(sch, total)
    names = {PAD, interleave.BLOCK, DEPTHWISE_DOT, sch.get(out).name_hint}
    if any(sch.get(block).name_hint not in names for block in p.blocks(sch)):
        return None
    if not p.is_output(sch, out):
        return None
    return total, out, p.space_extents(sch, total) == p.extents(sch, out)


def _dot(sch: s_tir.Schedule, total: Any) -> Dot:
    return ALL[str(sch.get(total).annotations["tvmkd.dot"])]


def configs(sch: s_tir.Schedule, cpu: Cpu) -> list[dict[str, Any]]:
    """Register tiles, and rows and channels of a chunk."""
    parts = _parts(sch)
    if parts is None:
        return []
    total, out, _ = parts
    dot, outputs = _dot(sch, total), int(sch.get(total).annotations["tvmkd.outputs"])
    *outer, rows, columns, channels = p.space_extents(sch, total)
    axes = sch.get(total).iter_vars
    kh, pieces = (int(a.dom.extent) for a in axes if int(a.iter_type) != p.SPATIAL)
    near = sch.get(p.named(sch, interleave.BLOCK)).writes[0].source.shape
    stride = max(1, (int(near[1]) - kh) // max(1, rows - 1))
    blocks, cells = channels // dot.lanes, columns // outputs
    facts = {
        "work": math.prod([*outer, rows, columns, blocks, kh, pieces]),
        "stored": math.prod(p.extents(sch, out)) / cpu.lanes * p.operations(sch, out) / 2,
    }
    found = []
    tiles = itertools.product(p.divisors(cells, 8), p.divisors(blocks, 4), p.divisors(rows, rows))
    for n, b, chunk in tiles:
        sums = n * outputs * b
        if sums > dot.registers - SPARE and (n, b) != (1, 1):
            continue
        staged = (chunk - 1) * stride + kh
        kept = staged * cells * pieces * b * dot.lanes * dot.group
        loads = (n + outputs) * b
        each = max(dot.products, loads / cpu.loads / sums) + WAITING
        found.append(
            {
                "columns": n * outputs,
                "blocks": b,
                "chunk": chunk,
                "sums": sums,
                "cycles": each + (0 if kept <= cpu.l2 // 2 else 1.0),
                "staged": math.prod(outer) * rows // chunk * staged * cells * pieces * blocks,
                "steps": math.prod(outer) * rows // chunk * blocks // b,
                **facts,
            }
        )
    return found


def cycles(config: dict[str, Any]) -> float:
    """Cycles of one core, reckoned from what its registers and caches can do."""
    worked = config["work"] * config["cycles"] + config["staged"] * INTERLEAVING
    return float(worked + config["stored"] + 40 * config["steps"])


def apply(sch: s_tir.Schedule, config: dict[str, Any]) -> None:
    """Applies one configuration."""
    parts = _parts(sch)
    assert parts is not None
    total, out, same = parts
    dot = _dot(sch, total)
    if not same:
        # The reader crops: it runs behind, over the finished sums.
        writer = sch.cache_write(total, 0, "local")
        p.spread(sch, out, parallel=config["parallel"])
        out = writer
    *outer, row, column, channel = sch.get_loops(out)
    chunk, row = sch.split(row, [None, config["chunk"]])
    column, near_column = sch.split(column, [None, config["columns"]])
    left, block, lane = sch.split(channel, [None, config["blocks"], dot.lanes])
    sch.reorder(*outer, chunk, left, row, column, near_column, block, lane)
    loop = sch.fuse(*outer, chunk, left)
    if config["parallel"]:
        sch.parallel(loop)
    p.unroll_tile(sch, [near_column, block, lane])
    sch.compute_at(total, column, preserve_unit_loops=True)
    near, pad = p.named(sch, interleave.BLOCK), p.named(sch, PAD)
    sch.compute_at(near, loop, preserve_unit_loops=True)
    p.vectorize_rows(sch, near)
    if pad is not None:
        sch.compute_at(pad, loop, preserve_unit_loops=True)
        p.vectorize_rows(sch, pad)
    _sum_in_registers(sch, total, dot)


def _sum_in_registers(sch: s_tir.Schedule, total: Any, dot: Dot) -> None:
    """Keeps a tile of sums in registers; the innermost loops become the instruction."""
    sch.set_scope(total, 0, "local")
    kinds = [int(axis.iter_type) for axis in sch.get(total).iter_vars]
    inner = sch.get_loops(total)[-len(kinds) :]
    space = [loop for loop, kind in zip(inner, kinds, strict=True) if kind == p.SPATIAL]
    height, part = (x for x, kind in zip(inner, kinds, strict=True) if kind != p.SPATIAL)
    space += sch.split(space.pop(), [None, dot.lanes])
    lane = space[-1]
    sch.reorder(height, part, *space)
    for loop in (height, part, *space[:-1]):
        sch.unroll(loop)
    start = sch.decompose_reduction(total, height)
    p.unroll_tile(sch, sch.get_loops(start)[-len(space) :])
    sch.tensorize(lane, intrinsic_each(dot))
