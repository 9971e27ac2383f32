"""Convolutions and matrix products of bytes: a register tile of sums, one instruction a step.

As `tvmkd.stacks.relax.templates.packed`, but the innermost loops are an instruction that sums
several products: see `tvmkd.stacks.relax.dot_products`.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from tvm import s_tir

from tvmkd.stacks.relax.dot_products import ALL, SUM, Dot, intrinsic
from tvmkd.stacks.relax.kernels import PAD
from tvmkd.stacks.relax.templates import primitives as p
from tvmkd.stacks.relax.templates.cpu import Cpu
from tvmkd.stacks.relax.templates.register_tile import Parts, register_tile


def _dot(sch: s_tir.Schedule, total: Any) -> Dot:
    return ALL[str(sch.get(total).annotations["tvmkd.dot"])]


def _parts(sch: s_tir.Schedule) -> Parts | None:
    total = p.named(sch, SUM)
    if total is None:
        return None
    p.inline_cheap(sch, keep=(PAD, *p.before_broadcasts(sch, total)))
    total = p.named(sch, SUM)
    found = p.chain(sch, total, PAD)
    if found is None:
        return None
    out, last = found
    return total, out, p.space_extents(sch, total) == p.extents(sch, out), last


def configs(sch: s_tir.Schedule, cpu: Cpu) -> list[dict[str, Any]]:
    """Register tiles, loop orders and padding."""
    parts = _parts(sch)
    if parts is None:
        return []
    total, out, *_ = parts
    dot = _dot(sch, total)
    *outer, columns, channels = p.space_extents(sch, total)
    rows = outer.pop() if len(outer) > 1 else 1
    images, blocks = math.prod(outer), channels // dot.lanes
    weight = next(r.source for r in sch.get(total).reads if len(r.source.shape) > 5)
    weight_bytes = math.prod(int(n) for n in weight.shape) * np.dtype(dot.weight).itemsize
    facts = {
        "work": math.prod(p.extents(sch, total)) // dot.depth // dot.lanes,
        "stored": math.prod(p.extents(sch, out)) / cpu.lanes * p.operations(sch, out) / 2,
    }
    least = max((n for n in p.divisors(blocks, 8)), default=1) if rows * columns == 1 else 4
    pads = ("row", "ahead") if p.named(sch, PAD) is not None else ("none",)
    orders = ("channels", "rows") if columns * rows > 1 else ("channels",)
    tiles = itertools.product(
        p.divisors(rows, 4), p.divisors(columns, 14), p.divisors(blocks, 8), orders, pads
    )
    found = []
    for r, c, b, order, pad in tiles:
        sums = r * c * b
        if sums > dot.registers or sums < min(least, 4, blocks * columns * rows):
            continue
        if pad == "row" and (order == "channels" or len(sch.get_loops(total)) < 7):
            continue
        tile_bytes = weight_bytes * b // blocks
        found.append(
            {
                "rows": r,
                "columns": c,
                "blocks": b,
                "order": order,
                "pad": pad,
                "sums": sums,
                "cycles": max(sums * dot.products, (b + r * c) / cpu.loads, cpu.latency) / sums,
                # Weights are read again for each tile of pixels, from the second cache if they
                # do not fit into the first.
                "reads": (b * (2 if tile_bytes > cpu.l1 // 2 else 1) + r * c / 2) / sums,
                "steps": images * rows // r * (1 if pad == "row" else blocks // b),
                **facts,
            }
        )
    return found


def cycles(config: dict[str, Any]) -> float:
    """Cycles of one core, reckoned from what its registers and caches can do."""
    each = config["cycles"] + config["reads"] / 8
    return float(config["work"] * each * (1.01 if config["order"] == "rows" else 1.0)) + float(
        config["stored"]
    )


def apply(sch: s_tir.Schedule, config: dict[str, Any]) -> None:
    """Applies one configuration."""
    parts = _parts(sch)
    assert parts is not None
    dot = _dot(sch, parts[0])
    register_tile(sch, parts, config, dot.lanes, least_outer=2)
    _sum_in_registers(sch, parts[0], dot)


def _sum_in_registers(sch: s_tir.Schedule, total: Any, dot: Dot) -> None:
    """Keeps a tile of sums in registers; the innermost loops become the instruction."""
    sch.set_scope(total, 0, "local")
    kinds = [int(axis.iter_type) for axis in sch.get(total).iter_vars]
    inner = sch.get_loops(total)[-len(kinds) :]
    space = [loop for loop, kind in zip(inner, kinds, strict=True) if kind == p.SPATIAL]
    folds = [loop for loop, kind in zip(inner, kinds, strict=True) if kind != p.SPATIAL]
    space += sch.split(space.pop(), [None, dot.lanes])
    lane = space[-1]
    if not dot.name:
        sch.reorder(*folds, *space)
        p.unroll_tile(sch, space)
    else:
        steps, group = folds[-2:-1] if dot.steps > 1 else [], folds[-1]
        sch.reorder(*folds[: -1 - len(steps)], *space[:-1], *steps, lane, group)
        for loop in space[:-1]:
            sch.unroll(loop)
    start = sch.decompose_reduction(total, folds[0])
    p.unroll_tile(sch, sch.get_loops(start)[-len(space) :])
    if dot.name:
        sch.tensorize((steps or [lane])[0], intrinsic(dot))
