"""The loops round a tile of sums that stays in registers, for floats and for bytes."""

from __future__ import annotations

from typing import Any

from tvm import s_tir

from tvmkd.stacks.relax.kernels import PAD
from tvmkd.stacks.relax.templates import primitives as p

Parts = tuple[Any, Any, bool, Any]
"""The sum, its one reader, whether both have the same shape (else they stay apart), and the block
behind the reader that broadcasts its result, or None.
"""


def register_tile(
    sch: s_tir.Schedule, parts: Parts, config: dict[str, Any], lanes: int, *, least_outer: int
) -> None:
    """Computes the sum for one tile of its reader's loops at a time.

    Args:
        config: ``rows``, ``columns`` and ``blocks`` of a tile, the ``order`` of the loops outside,
            what becomes of the padding (``pad``), and whether threads share them (``parallel``).
        lanes: of a block.
        least_outer: how many loops there have to be outside the columns for the innermost of them
            to be the rows.
    """
    total, out, same, last = parts
    if last is not None:
        p.spread(sch, last, parallel=config["parallel"])
    if not same:
        # The reader broadcasts or crops: it runs behind, over the finished sums.
        writer = sch.cache_write(total, 0, "local")
        p.spread(sch, out, parallel=config["parallel"])
        out = writer
    *outer, column, channel = sch.get_loops(out)
    row = outer.pop() if len(outer) >= least_outer else None
    left, block, lane = sch.split(channel, [None, config["blocks"], lanes])
    column_out, column_in = sch.split(column, [None, config["columns"]])
    tile = [column_in, block, lane]
    if row is None:
        sch.reorder(*outer, left, column_out, *tile)
        loops = [*outer, left]
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
