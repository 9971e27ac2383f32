"""The two transformations of a Winograd convolution: a tile at a time, channels in vectors.

The first pass of a tile (over its rows) is kept in a small buffer that the second pass (over its
columns) reads back at once; both are unrolled, which folds the constant matrices into additions.
"""

from __future__ import annotations

from typing import Any

from tvm import s_tir

from tvmkd.stacks.relax.kernels import PAD
from tvmkd.stacks.relax.templates import primitives as p
from tvmkd.stacks.relax.templates.cpu import Cpu
from tvmkd.stacks.relax.winograd import ROWS_IN, ROWS_OUT


def configs(sch: s_tir.Schedule, cpu: Cpu) -> list[dict[str, Any]]:
    """Channels computed together, what becomes of the padding, and how threads share the tiles."""
    inward = p.named(sch, ROWS_IN) is not None
    if not inward and p.named(sch, ROWS_OUT) is None:
        return []
    out = _prepare(sch)
    widths = [width for width in (4, 8, 16, 32) if width >= min(8, cpu.lanes)]
    channels = p.extents(sch, out)[-1]
    return [
        {"inward": inward, "width": width, "pad": pad, "order": order, "parallel": parallel}
        for parallel in ((True, False) if cpu.threads > 1 else (False,))
        for pad in (("ahead", "inline") if inward else ("none",))
        for order in ("tiles", "channels")
        for width in sorted(widths, key=lambda width: abs(width - cpu.lanes))
        if channels % width == 0
    ]


def _prepare(sch: s_tir.Schedule) -> Any:
    """Inlines all but the first pass; the block that is left writes the result."""
    p.inline_cheap(sch, keep=(PAD, ROWS_IN, ROWS_OUT))
    return p.blocks(sch)[-1]


def apply(sch: s_tir.Schedule, config: dict[str, Any]) -> None:
    """Applies one configuration."""
    inward = config["inward"]
    out = _prepare(sch)
    rows = p.named(sch, ROWS_IN if inward else ROWS_OUT)
    first, patch, *_ = p.space_extents(sch, rows)
    pad = p.named(sch, PAD)
    if inward:
        points, tile, channel = sch.get_loops(out)
        outer, unrolled = [tile], list(sch.split(points, [patch, patch]))
    else:
        n, row, column, channel = sch.get_loops(out)
        row_out, row_in = sch.split(row, [None, first])
        column_out, column_in = sch.split(column, [None, first])
        outer, unrolled = [n, row_out, column_out], [row_in, column_in]
    block, lanes = sch.split(channel, [None, config["width"]])
    outer = [*outer, block] if config["order"] == "tiles" else [block, *outer]
    sch.reorder(*outer, *unrolled, lanes)
    loop = sch.fuse(*outer)
    if config["parallel"]:
        sch.parallel(loop)
    p.unroll_tile(sch, [*unrolled, lanes])
    sch.compute_at(rows, loop, preserve_unit_loops=True)
    sch.set_scope(rows, 0, "local")
    p.unroll_tile(sch, sch.get_loops(rows)[1:])
    if pad is not None and config["pad"] == "inline":
        sch.compute_inline(pad)
    elif pad is not None:
        p.spread(sch, pad, parallel=config["parallel"])
