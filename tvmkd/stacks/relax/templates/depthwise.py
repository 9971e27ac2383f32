"""Depthwise convolution, channels last: channels in vectors, neighbouring pixels share loads."""

from __future__ import annotations

import math
from typing import Any

from tvm import s_tir

from tvmkd.stacks.relax.kernels import DEPTHWISE, PAD
from tvmkd.stacks.relax.templates import primitives as p


def _parts(sch: s_tir.Schedule) -> tuple[Any, Any] | None:
    if p.named(sch, DEPTHWISE) is None:
        return None
    p.inline_cheap(sch, keep=(PAD,))
    total = p.named(sch, DEPTHWISE)
    out = p.epilogue_of(sch, total)
    if len(p.blocks(sch)) > 3 or p.space_extents(sch, total) != p.extents(sch, out):
        return None
    return total, out


def configs(sch: s_tir.Schedule, threads: int) -> list[dict[str, Any]]:
    """Pixels and channels computed together, padding ahead, by row or as a condition."""
    parts = _parts(sch)
    if parts is None:
        return []
    total, out = parts
    _, rows, columns, channels = p.extents(sch, out)
    taps = [int(a.dom.extent) for a in sch.get(total).iter_vars if int(a.iter_type) != 0]
    widths = [w for w in (32, 16, 8) if channels % w == 0] or [p.vector_width(channels)]
    pads = ("row", "ahead", "inline") if p.named(sch, PAD) is not None else ("none",)
    work = math.prod([rows, columns, channels, *taps])
    found = []
    for width in widths:
        for c in p.divisors(columns, 14):
            for r in p.divisors(rows, 4):
                registers = r * c * math.ceil(width / 8)
                if registers > 14:
                    continue
                for pad in pads:
                    for order in ("rows", "channels"):
                        if pad == "row" and order == "channels":
                            continue
                        for parallel in (True, False) if threads > 1 else (False,):
                            if not parallel and threads > 1 and work > 1 << 18:
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
                            found.append((abs(registers - 7) + 3 * pads.index(pad), config))
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
    n, row, column, channel = sch.get_loops(out)
    row_out, row_in = sch.split(row, [None, config["rows"]])
    column_out, column_in = sch.split(column, [None, config["columns"]])
    block, lanes = sch.split(channel, [None, config["width"]])
    if config["order"] == "rows":
        sch.reorder(n, row_out, block, column_out, row_in, column_in, lanes)
        loop = sch.fuse(n, row_out)
    else:
        sch.reorder(n, block, row_out, column_out, row_in, column_in, lanes)
        loop = sch.fuse(n, block)
    if config["parallel"]:
        sch.parallel(loop)
    p.unroll_tile(sch, [row_in, column_in, lanes])
    sch.compute_at(total, column_out, preserve_unit_loops=True)
    if pad is not None and config["pad"] == "row":
        sch.compute_at(pad, loop, preserve_unit_loops=True)
        p.vectorize_rows(sch, pad)
    elif pad is not None:
        p.spread(sch, pad, parallel=config["parallel"])
    p.sum_in_registers(sch, total, unroll_folds=True)
