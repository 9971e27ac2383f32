"""Depthwise convolution, channels last: channels in vectors, neighbouring pixels share loads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from tvm import s_tir

from tvmkd.stacks.relax.kernels import DEPTHWISE, PAD
from tvmkd.stacks.relax.templates import primitives as p
from tvmkd.stacks.relax.templates.cpu import Cpu

WIDTHS = (64, 32, 16, 8)
"""Channels that are computed together."""
TILE = 10
"""Instructions round a tile: pointers, a jump."""


def _parts(sch: s_tir.Schedule) -> tuple[Any, Any] | None:
    if p.named(sch, DEPTHWISE) is None:
        return None
    p.inline_cheap(sch, keep=(PAD,))
    total = p.named(sch, DEPTHWISE)
    out = p.epilogue_of(sch, total)
    if len(p.blocks(sch)) > 3 or not p.covers(sch, total, out):
        return None
    return total, out


def configs(sch: s_tir.Schedule, cpu: Cpu) -> list[dict[str, Any]]:
    """Pixels and channels computed together, padding ahead, by row or as a condition."""
    parts = _parts(sch)
    if parts is None:
        return []
    total, out = parts
    *outer, columns, channels = p.space_extents(sch, total)
    rows = outer.pop() if len(outer) > 1 else 1
    most, images = cpu.registers - 2, math.prod(outer)
    taps = [int(a.dom.extent) for a in sch.get(total).iter_vars if int(a.iter_type) != p.SPATIAL]
    inputs = sch.get(total).reads[0].source
    facts = {
        "taps": math.prod(taps),
        "work": math.prod([*taps, *p.space_extents(sch, total)]),
        "last_tap": taps[-1],
        "input_bytes": p.bytes_of(inputs),
        "output_bytes": p.bytes_of(sch.get(out).writes[0].source),
        "row_bytes": 4 * int(inputs.shape[-2]) * channels,
        "epilogue": p.operations(sch, out),
    }
    widths = [w for w in WIDTHS if w <= max(32, 4 * cpu.lanes) and channels % w == 0]
    widths = widths or [p.vector_width(channels)]
    if cpu.lanes < min(widths) and channels % cpu.lanes == 0:
        widths.append(cpu.lanes)
    padded = p.named(sch, PAD)
    pads: tuple[str, ...] = ("row", "ahead", "inline") if padded is not None else ("none",)
    if padded is not None and (p.repeats(sch, padded) > 1 or widths[0] % 4):
        # Each tap would load each value of a vector, or take it apart for the condition.
        pads = ("row", "ahead")
    tiles = itertools.product(widths, p.divisors(columns, 14), p.divisors(rows, 4))
    found = []
    for (width, c, r), pad, order in itertools.product(tiles, pads, ("rows", "channels")):
        registers = r * c * math.ceil(width / cpu.lanes)
        if registers > most or (pad == "row" and order == "channels"):
            continue
        found.append(
            {
                "width": width,
                "columns": c,
                "rows": r,
                "pad": pad,
                "order": order,
                "registers": registers,
                "columns_left": columns // c,
                "rows_left": rows // r,
                "blocks_left": channels // width,
                "steps": images * (rows // r if order == "rows" else channels // width),
                **facts,
            }
        )
        if cpu.lanes < 8:
            found[-1]["cycles"] = _cycles(found[-1], taps, _stride(inputs, columns, taps[-1]), cpu)
    return found


def _stride(inputs: Any, columns: int, kernel: int) -> int:
    """The stride over columns, from the width of the padded input."""
    return max(1, round((int(inputs.shape[-2]) - kernel) / max(1, columns - 1)))


def _cycles(config: dict[str, Any], taps: Sequence[int], stride: int, cpu: Cpu) -> float:
    """Cycles of one core with short registers: what a tile loads, what does not stay in registers,
    and how often the padded rows are copied.
    """
    vectors, kernel_rows = math.ceil(config["width"] / cpu.lanes), math.prod(taps[:-1])
    wide = (config["columns"] - 1) * stride + taps[-1]
    high = (config["rows"] - 1) * stride + kernel_rows
    pairs = 2 if vectors % 2 == 0 else 1
    adds = config["taps"] * config["registers"]
    loads = (wide * high + config["taps"]) * vectors / pairs
    # LLVM loads a part of the inputs later than it might: a quarter more fits than there is.
    live = config["registers"] + (config["rows"] * wide + taps[-1]) * vectors
    loads += 6 * max(0.0, live - 1.25 * cpu.registers)
    finish = config["registers"] * (config["epilogue"] + 1) / 2
    far = 6 if config["input_bytes"] > cpu.l2 else 1
    tile_inputs = config["rows"] * config["columns"] * stride * stride * vectors
    copied = {
        "ahead": (1 + far) * tile_inputs,
        "row": high / config["rows"] / stride * tile_inputs,
        "inline": 3 * wide * high * vectors,
        "none": 0,
    }[config["pad"]]
    tile = max(adds / cpu.fma, loads / cpu.loads) + 0.3 * loads + finish + copied + TILE
    return float(tile / adds * config["work"] / cpu.lanes)


def cycles(config: dict[str, Any]) -> float:
    """Cycles of one core: fewest with half the registers in use and the padding made by row."""
    if "cycles" in config:
        return float(config["cycles"])
    surplus = abs(config["registers"] - 7) + 3 * ("row", "ahead", "inline", "none").index(
        config["pad"]
    )
    return float(config["work"] / 8 * (0.5 + 0.05 * surplus))


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
