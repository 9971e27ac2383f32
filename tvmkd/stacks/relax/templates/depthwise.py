"""Depthwise convolution, channels last: channels in vectors, neighbouring pixels share loads."""

from __future__ import annotations

import math
from typing import Any

from tvm import s_tir

from tvmkd.stacks.relax.kernels import DEPTHWISE, PAD
from tvmkd.stacks.relax.templates import primitives as p
from tvmkd.stacks.relax.templates.cpu import Cpu


def _parts(sch: s_tir.Schedule) -> tuple[Any, Any] | None:
    if p.named(sch, DEPTHWISE) is None:
        return None
    p.inline_cheap(sch, keep=(PAD,))
    total = p.named(sch, DEPTHWISE)
    out = p.epilogue_of(sch, total)
    if len(p.blocks(sch)) > 3 or p.space_extents(sch, total) != p.extents(sch, out):
        return None
    return total, out


def configs(sch: s_tir.Schedule, cpu: Cpu) -> list[dict[str, Any]]:
    """Pixels and channels computed together, padding ahead, by row or as a condition."""
    parts = _parts(sch)
    if parts is None:
        return []
    total, out = parts
    *outer, columns, channels = p.extents(sch, out)
    rows = outer[-1] if len(outer) > 1 else 1
    most, lanes = cpu.registers - 2, cpu.lanes
    taps = [int(a.dom.extent) for a in sch.get(total).iter_vars if int(a.iter_type) != 0]
    widths = [w for w in (32, 16, 8) if channels % w == 0] or [p.vector_width(channels)]
    pads = ("row", "ahead", "inline") if p.named(sch, PAD) is not None else ("none",)
    work = math.prod([rows, columns, channels, *taps])
    found = []
    for width in widths:
        for c in p.divisors(columns, 14):
            for r in p.divisors(rows, 4):
                registers = r * c * math.ceil(width / lanes)
                if registers > most:
                    continue
                for pad in pads:
                    for order in ("rows", "channels"):
                        if pad == "row" and order == "channels":
                            continue
                        for parallel in (True, False) if cpu.threads > 1 else (False,):
                            if not parallel and cpu.threads > 1 and work > 1 << 18:
                                continue
                            config = {
                                "width": width,
                                "columns": c,
                                "rows": r,
                                "pad": pad,
                                "order": order,
                                "parallel": parallel,
                                "registers": registers,
                            }
                            found.append((abs(registers - most // 2) + 3 * pads.index(pad), config))
    found.sort(key=lambda item: item[0])
    return [config for _, config in found]


def apply(sch: s_tir.Schedule, config: dict[str, Any]) -> None:
    """Applies one configuration."""
    parts = _parts(sch)
    assert parts is not None
    total, out = parts
    pad = p.named(sch, PAD)
    if pad is not None and config["pad"] == "inline":
        sch.compute_inline(pad)
        pad = None
    *outer, column, channel = sch.get_loops(out)
    tile: list[Any] = []
    if len(outer) > 1:
        row, row_in = sch.split(outer.pop(), [None, config["rows"]])
        outer, tile = [*outer, row], [row_in]
    column_out, column_in = sch.split(column, [None, config["columns"]])
    block, lanes = sch.split(channel, [None, config["width"]])
    tile = [*tile, column_in, lanes]
    if config["order"] == "rows":
        sch.reorder(*outer, block, column_out, *tile)
        loop = sch.fuse(*outer)
    else:
        sch.reorder(*outer[:-1], block, outer[-1], column_out, *tile)
        loop = sch.fuse(*outer[:-1], block)
    if config["parallel"]:
        sch.parallel(loop)
    p.unroll_tile(sch, tile)
    sch.compute_at(total, column_out, preserve_unit_loops=True)
    if pad is not None and config["pad"] == "row":
        sch.compute_at(pad, loop, preserve_unit_loops=True)
        p.vectorize_rows(sch, pad)
    elif pad is not None:
        p.spread(sch, pad, parallel=config["parallel"])
    p.sum_in_registers(sch, total, unroll_folds=True)
