"""Pooling and means over pixels, channels last: many independent sums side by side in vectors."""

from __future__ import annotations

from typing import Any

from tvm import s_tir

from tvmkd.stacks.relax.templates import primitives as p
from tvmkd.stacks.relax.templates.cpu import Cpu


def _parts(sch: s_tir.Schedule) -> tuple[Any, Any] | None:
    p.inline_cheap(sch)
    found = p.blocks(sch)
    sums = [block for block in found if p.is_reduction(sch, block)]
    if len(sums) != 1 or len(found) > 2:
        return None
    axes = sch.get(sums[0]).iter_vars
    kinds = [int(axis.iter_type) for axis in axes]
    last_spatial = max((i for i, kind in enumerate(kinds) if kind == 0), default=-1)
    if last_spatial < 0 or int(axes[last_spatial].dom.extent) < 4:
        return None
    # The channel must be the innermost axis of what is read, or vectors would gather.
    region = sch.get(sums[0]).reads[0].region
    if not region or not region[-1].min.same_as(axes[last_spatial].var):
        return None
    return sums[0], p.epilogue_of(sch, sums[0])


def configs(sch: s_tir.Schedule, cpu: Cpu) -> list[dict[str, Any]]:
    """Vector width, pixels computed together, whether threads pay."""
    parts = _parts(sch)
    if parts is None:
        return []
    extents = p.extents(sch, parts[1])
    channels, columns = extents[-1], extents[-2] if len(extents) > 1 else 1
    widths = [w for w in (32, 16, 8) if channels % w == 0] or [p.vector_width(channels)]
    return [
        {"threads": cpu.threads, "parallel": flag, "width": width, "columns": cols}
        for flag in ([True, False] if cpu.threads > 1 else [False])
        for width in widths
        for cols in p.divisors(columns, 4)
    ]


def apply(sch: s_tir.Schedule, config: dict[str, Any]) -> None:
    """Applies one configuration."""
    parts = _parts(sch)
    assert parts is not None
    total, out = parts
    *outer, channel = sch.get_loops(out)
    left, lanes = sch.split(channel, [None, config["width"]])
    tile = []
    if outer:
        column, tile_loop = sch.split(outer[-1], [None, config["columns"]])
        outer = [*outer[:-1], column]
        tile = [tile_loop]
        sch.reorder(*outer, left, *tile, lanes)
    loop = p.share(sch, [*outer, left], parallel=config["parallel"])
    p.unroll_tile(sch, [*tile, lanes])
    sch.compute_at(total, loop, preserve_unit_loops=True)
    p.sum_in_registers(sch, total)
