"""Softmax, normalisation and reductions over rows: each row in one go, while it is in the cache."""

from __future__ import annotations

from typing import Any

from tvm import s_tir

from tvmkd.stacks.relax.row_kernels import LANES_NAME, TOTAL
from tvmkd.stacks.relax.templates import primitives as p
from tvmkd.stacks.relax.templates.cpu import Cpu

ON_STACK = 1 << 14
"""Floats of a row that are kept on the stack at most."""


def _parts(sch: s_tir.Schedule) -> tuple[list[Any], Any] | None:
    found = p.blocks(sch)
    names = [sch.get(block).name_hint for block in found]
    if not any(name.endswith(TOTAL) for name in names):
        return None
    *inner, out = found
    if not p.is_output(sch, out) or any(p.is_output(sch, block) for block in inner):
        return None
    return inner, out


def configs(sch: s_tir.Schedule, cpu: Cpu) -> list[dict[str, Any]]:
    """Whether threads pay, and how many rows one takes at a time."""
    parts = _parts(sch)
    if parts is None:
        return []
    rows = p.extents(sch, parts[1])[0]
    flags = (True, False) if cpu.threads > 1 and rows > 1 else (False,)
    return [{"parallel": flag, "rows": step} for flag in flags for step in p.divisors(rows, 4)]


def apply(sch: s_tir.Schedule, config: dict[str, Any]) -> None:
    """Applies one configuration."""
    parts = _parts(sch)
    assert parts is not None
    inner, out = parts
    outer, row = sch.split(sch.get_loops(out)[0], [None, config["rows"]])
    if config["parallel"]:
        sch.parallel(outer)
    for block in reversed(inner):
        sch.compute_at(block, row, preserve_unit_loops=True)
    for block in inner:
        name = sch.get(block).name_hint
        extent = max(p.extents(sch, block)[2:], default=1)
        if extent <= ON_STACK:
            sch.set_scope(block, 0, "local")
        if name.endswith(LANES_NAME):
            _, lanes, fold = sch.get_loops(block)[-3:]
            sch.reorder(fold, lanes)
            sch.vectorize(lanes)
            start = sch.decompose_reduction(block, fold)
            sch.vectorize(sch.get_loops(start)[-1])
        elif not p.is_reduction(sch, block):
            _in_vectors(sch, block)
    _in_vectors(sch, out)


def _in_vectors(sch: s_tir.Schedule, block: Any) -> None:
    """The columns of a row in vectors where they are whole; LLVM finds vectors in the others."""
    *outer, last = sch.get_loops(block)
    extent = int(sch.get(last).extent)
    width = next((width for width in (16, 8, 4) if extent % width == 0), 1)
    if len(outer) > 1 and width > 1:
        sch.vectorize(sch.split(last, [None, width])[1])
