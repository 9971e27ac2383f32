"""Kernels that no other template knows: each loop nest spread over vectors and threads."""

from __future__ import annotations

import math
from typing import Any

from tvm import s_tir

from tvmkd.stacks.relax.templates import primitives as p
from tvmkd.stacks.relax.templates.cpu import Cpu

LEAST_WORK = 1 << 14
"""Operations of a loop nest from which threads are tried first."""


def configs(sch: s_tir.Schedule, cpu: Cpu) -> list[dict[str, Any]]:
    """Vector width, and whether threads pay."""
    p.inline_cheap(sch)
    found = [block for block in p.blocks(sch) if sch.get(block).iter_vars]
    if not found:
        return []
    work = max(math.prod(p.extents(sch, block)) for block in found)
    flags = (True, False) if work >= LEAST_WORK else (False, True)
    return [
        {"parallel": flag, "width": width, "tile": tile}
        for flag in (flags if cpu.threads > 1 else (False,))
        for tile in (4, 1, 8)
        for width in (16, 8, 32)
    ]


def apply(sch: s_tir.Schedule, config: dict[str, Any]) -> None:
    """Applies one configuration, to every loop nest alike."""
    p.inline_cheap(sch)
    for block in p.blocks(sch):
        if p.is_reduction(sch, block):
            _reduction(sch, block, config)
        elif p.extents(sch, block):
            extent = p.extents(sch, block)[-1]
            width = config["width"] if extent % config["width"] == 0 else p.vector_width(extent)
            p.spread(sch, block, parallel=config["parallel"], width=width)


def _reduction(sch: s_tir.Schedule, block: Any, config: dict[str, Any]) -> None:
    """Several sums side by side: of the innermost axis in vectors, and of its neighbours."""
    loops = sch.get_loops(block)
    kinds = [int(axis.iter_type) for axis in sch.get(block).iter_vars]
    if len(loops) != len(kinds):
        return
    space = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == p.SPATIAL]
    folds = [loop for loop, kind in zip(loops, kinds, strict=True) if kind != p.SPATIAL]
    if not space:
        return
    *outer, last = space
    extent = int(sch.get(last).extent)
    width = config["width"] if extent % config["width"] == 0 else p.vector_width(extent)
    tile: list[Any] = []
    if width > 1:
        last, lanes = sch.split(last, [None, width])
        tile = [lanes]
    if outer and config["tile"] > 1:
        count = max(p.divisors(int(sch.get(outer[-1]).extent), config["tile"]))
        outer[-1], near = sch.split(outer[-1], [None, count])
        tile = [near, *tile]
    sch.reorder(*outer, last, *folds, *tile)
    copy = sch.cache_write(block, 0, "local")
    loop = p.share(sch, [*outer, last], parallel=config["parallel"])
    sch.reverse_compute_at(copy, loop, preserve_unit_loops=True)
    _unroll(sch, tile, vectors=width > 1)
    start = sch.decompose_reduction(block, folds[0])
    if tile:
        _unroll(sch, sch.get_loops(start)[-len(tile) :], vectors=width > 1)
    if width > 1:
        _unroll(sch, sch.get_loops(copy)[-len(space) :], vectors=True)


def _unroll(sch: s_tir.Schedule, tile: list[Any], *, vectors: bool) -> None:
    if vectors:
        p.unroll_tile(sch, tile)
    else:
        for loop in tile:
            sch.unroll(loop)
