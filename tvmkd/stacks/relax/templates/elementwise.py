"""Kernels without a reduction: additions, concatenations, transpositions."""

from __future__ import annotations

import math
from typing import Any

from tvm import s_tir

from tvmkd.stacks.relax.templates import primitives as p
from tvmkd.stacks.relax.templates.cpu import Cpu


def _outputs(sch: s_tir.Schedule) -> list[Any]:
    """The blocks that are left when all that can be is inlined: one an output."""
    if any(p.is_reduction(sch, block) for block in p.blocks(sch)):
        return []
    p.inline_cheap(sch)
    found = p.blocks(sch)
    usable = all(p.is_output(sch, block) and p.extents(sch, block) for block in found)
    return found if usable else []


def configs(sch: s_tir.Schedule, cpu: Cpu) -> list[dict[str, Any]]:
    """Vector width, and whether threads pay."""
    outputs = _outputs(sch)
    if not outputs:
        return []
    extents = p.extents(sch, outputs[0])
    alike = p.alike(sch, outputs[0])
    best = p.vector_width(alike)
    widths = sorted({best, *p.divisors(alike, 32)[-3:]}, key=lambda w: (w != best, -w))
    flags = [True, False] if math.prod(extents) >= 1 << 14 else [False, True]
    return [
        {"threads": cpu.threads, "parallel": flag, "width": width}
        for flag in (flags if cpu.threads > 1 else [False])
        for width in widths
    ]


def apply(sch: s_tir.Schedule, config: dict[str, Any]) -> None:
    """Applies one configuration, to every output alike."""
    for block in _outputs(sch):
        extent = p.extents(sch, block)[-1]
        width = config["width"] if extent % config["width"] == 0 else p.vector_width(extent)
        p.spread(sch, block, parallel=config["parallel"], width=width)
