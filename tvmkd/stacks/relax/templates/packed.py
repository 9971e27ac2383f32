"""Convolution and dense kernels over packed weights: a register tile fed by one weight stream.

The tile (rows x columns of output pixels, blocks of 8 channels) lives in registers while the
reduction runs: each step loads one vector a block, broadcasts one float a pixel, and does
``pixels * blocks`` multiply-adds. (Goto and van de Geijn, *Anatomy of High-Performance Matrix
Multiplication*, 2008; for convolution, Georganas et al., 2018.)
"""

from __future__ import annotations

import math
from typing import Any

from tvm import s_tir

from tvmkd.stacks.relax.kernels import LANES, PACKED, PAD
from tvmkd.stacks.relax.templates import primitives as p
from tvmkd.stacks.relax.templates.cpu import Cpu


def _parts(sch: s_tir.Schedule) -> tuple[Any, Any, bool] | None:
    """The sum, its one reader, and whether both have the same shape (else they stay apart)."""
    if p.named(sch, PACKED) is None:
        return None
    p.inline_cheap(sch, keep=(PAD,))
    total = p.named(sch, PACKED)
    out = p.epilogue_of(sch, total)
    if len(p.blocks(sch)) > 3 or not p.is_output(sch, out):
        return None
    return total, out, p.space_extents(sch, total) == p.extents(sch, out)


def _groups(sch: s_tir.Schedule, total: Any) -> int:
    """Of a grouped convolution; 1 for every other kernel."""
    reads = [region.source for region in sch.get(total).reads]
    inputs, weight = reads[0], reads[-1]
    inner, whole = int(weight.shape[-2]), int(inputs.shape[-1])
    return max(1, whole // inner)


def configs(sch: s_tir.Schedule, cpu: Cpu) -> list[dict[str, Any]]:
    """Register tiles, loop orders and padding, by the cycles a multiply-add should cost."""
    parts = _parts(sch)
    if parts is None:
        return []
    total = parts[0]
    *outer, columns, channels = p.space_extents(sch, total)
    # Rows of an image share their weights; the 36 products of Winograd do not.
    rows = outer[-1] if len(outer) > 1 else 1
    blocks = channels // LANES
    together = blocks // _groups(sch, total)  # blocks of one group read the same inputs
    each = -(-LANES // cpu.lanes)
    padded = p.named(sch, PAD) is not None
    work = math.prod(p.extents(sch, total))
    found: list[tuple[float, dict[str, Any]]] = []
    for r in p.divisors(rows, 4):
        for c in p.divisors(columns, 16):
            for b in p.divisors(together, 12):
                sums = r * c * b
                if sums > cpu.in_registers(LANES) or (sums < 4 and blocks * columns * rows > 4):
                    continue
                loads = b * each + r * c
                cycles = max(sums * each / cpu.fma, loads / cpu.loads, cpu.latency) / sums
                for order in ("channels", "rows") if columns * rows > 1 else ("channels",):
                    for pad in ("ahead", "row") if padded else ("none",):
                        if pad == "row" and order == "channels":
                            continue
                        for parallel in (True, False) if cpu.threads > 1 else (False,):
                            if not parallel and cpu.threads > 1 and work > 1 << 20:
                                continue
                            late = 0 if parallel == (work > 1 << 17) else 1
                            found.append(
                                (
                                    cycles + 0.01 * (order == "rows") + late,
                                    {
                                        "rows": r,
                                        "columns": c,
                                        "blocks": b,
                                        "order": order,
                                        "pad": pad,
                                        "parallel": parallel,
                                        "sums": sums,
                                        "cycles": cycles,
                                    },
                                )
                            )
    found.sort(key=lambda item: item[0])
    return [config for _, config in found]


def apply(sch: s_tir.Schedule, config: dict[str, Any]) -> None:
    """Applies one configuration."""
    parts = _parts(sch)
    assert parts is not None
    total, out, same = parts
    if not same:
        # The reader broadcasts or crops: it runs behind, over the finished sums.
        writer = sch.cache_write(total, 0, "local")
        p.spread(sch, out, parallel=config["parallel"])
        out = writer
    *outer, column, channel = sch.get_loops(out)
    row = outer.pop() if outer else None
    left, block, lane = sch.split(channel, [None, config["blocks"], LANES])
    column_out, column_in = sch.split(column, [None, config["columns"]])
    tile = [column_in, block, lane]
    if row is None:
        sch.reorder(left, column_out, *tile)
        loops, row_out = [left], None
    else:
        row_out, row_in = sch.split(row, [None, config["rows"]])
        tile = [row_in, *tile]
        order = [left, row_out] if config["order"] == "channels" else [row_out, left]
        sch.reorder(*outer, *order, column_out, *tile)
        loops = [*outer, *order]
    pad = p.named(sch, PAD)
    if pad is not None and config["pad"] == "row":
        # Threads take rows; the padded rows of one stay in the first cache.
        rows_loop = sch.fuse(*loops[:-1]) if len(loops) > 2 else loops[0]
        if config["parallel"]:
            sch.parallel(rows_loop)
    else:
        threads_loop = sch.fuse(*loops) if len(loops) > 1 else loops[0]
        if config["parallel"]:
            sch.parallel(threads_loop)
        if pad is not None:
            p.spread(sch, pad, parallel=config["parallel"])
    p.unroll_tile(sch, tile)
    sch.compute_at(total, column_out, preserve_unit_loops=True)
    if pad is not None and config["pad"] == "row":
        sch.compute_at(pad, rows_loop, preserve_unit_loops=True)
        p.vectorize_rows(sch, pad)
    p.sum_in_registers(sch, total, lanes=LANES)
