"""Convolution and dense kernels over packed weights: a register tile fed by one weight stream.

The tile (rows x columns of output pixels, blocks of 8 or 16 channels) lives in registers while the
reduction runs: each step loads one vector a block, broadcasts one float a pixel, and does
``pixels * blocks`` multiply-adds. (Goto and van de Geijn, *Anatomy of High-Performance Matrix
Multiplication*, 2008; for convolution, Georganas et al., 2018.)
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from tvm import s_tir

from tvmkd.stacks.relax.kernels import PACKED, PAD
from tvmkd.stacks.relax.templates import by_lane
from tvmkd.stacks.relax.templates import primitives as p
from tvmkd.stacks.relax.templates.cpu import Cpu
from tvmkd.stacks.relax.templates.register_tile import Parts, register_tile

LINE = 64
"""Bytes of a line of a cache."""


def _parts(sch: s_tir.Schedule) -> Parts | None:
    total = p.named(sch, PACKED)
    if total is None:
        return None
    p.inline_cheap(sch, keep=(PAD, *p.before_broadcasts(sch, total)))
    total = p.named(sch, PACKED)
    found = p.chain(sch, total, PAD)
    if found is None:
        return None
    out, last = found
    return total, out, p.covers(sch, total, out), last


def _facts(sch: s_tir.Schedule, total: Any, out: Any, same: bool) -> dict[str, Any]:
    """What of the kernel itself a cost model needs."""
    reads = [region.source for region in sch.get(total).reads]
    inputs, weight = reads[0], reads[-1]
    inner, lanes = (int(size) for size in weight.shape[-2:])
    taps = [int(a.dom.extent) for a in sch.get(total).iter_vars if int(a.iter_type) != p.SPATIAL]
    return {
        "inner": inner,
        "lanes": lanes,
        "taps": math.prod(taps) // inner,
        "work": math.prod([*taps, *p.space_extents(sch, total)]),
        "groups": max(1, int(inputs.shape[-1]) // inner),
        "weight_bytes": p.bytes_of(weight),
        "input_bytes": p.bytes_of(inputs),
        "output_bytes": p.bytes_of(sch.get(out).writes[0].source),
        "epilogue": p.operations(sch, out),
        "ragged": not same,
    }


def _batched(sch: s_tir.Schedule, total: Any) -> bool:
    """Whether the kernel is a product of batches: each has a right side of its own."""
    weight = sch.get(total).reads[-1].source
    folds = [a for a in sch.get(total).iter_vars if int(a.iter_type) != p.SPATIAL]
    return len(folds) == 1 and len(weight.shape) == 4


def _window(sch: s_tir.Schedule, total: Any, columns: int) -> tuple[int, int] | None:
    """The columns of a convolution's window, and its stride; None: no row of it is one run."""
    taps = [int(a.dom.extent) for a in sch.get(total).iter_vars if int(a.iter_type) != p.SPATIAL]
    inputs = sch.get(total).reads[0].source
    if len(taps) < 3 or columns < 2 or int(inputs.shape[-1]) != taps[-1]:
        return None
    stride = (int(inputs.shape[-2]) - taps[-2]) // (columns - 1)
    return taps[-2], max(1, stride)


def configs(sch: s_tir.Schedule, cpu: Cpu) -> list[dict[str, Any]]:
    """Register tiles, loop orders and padding, by the cycles a multiply-add should cost."""
    parts = _parts(sch)
    if parts is None:
        return []
    total, out, same, _ = parts
    *outer, columns, channels = p.space_extents(sch, total)
    # Rows, and images, share their weights; the 36 products of Winograd do not.
    rows = outer.pop() if len(outer) > 1 or (outer and not _batched(sch, total)) else 1
    images = math.prod(outer)
    facts = _facts(sch, total, out, same)
    lanes = facts["lanes"]
    blocks, each = channels // lanes, -(-lanes // cpu.lanes)
    pads = ("ahead", "row") if p.named(sch, PAD) is not None else ("none",)
    orders = ("channels", "rows") if columns * rows > 1 else ("channels",)
    # Blocks of one group read the same inputs.
    together = blocks // facts["groups"]
    tiles = itertools.product(
        p.divisors(rows, 4), p.divisors(columns, 16), p.divisors(together, 12)
    )
    found: list[dict[str, Any]] = []
    for (r, c, b), order, pad in itertools.product(tiles, orders, pads):
        sums = r * c * b
        if sums > cpu.in_registers(lanes) or (sums < 4 and blocks * columns * rows > 4):
            continue
        if pad == "row" and order == "channels":
            continue
        loads = b * each + r * c
        weights = facts["weight_bytes"] * b // blocks
        steps = images * rows // r * (1 if pad == "row" else blocks // b)
        found.append(
            {
                "rows": r,
                "columns": c,
                "blocks": b,
                "order": order,
                "pad": pad,
                "sums": sums,
                "cycles": max(sums * each / cpu.fma, loads / cpu.loads, cpu.latency) / sums,
                # A tile's weights are read again for each group of pixels: from the first cache,
                # or 32 bytes a cycle from the second.
                "far": b / sums if weights > cpu.l1 // 2 else 0.0,
                "tile_bytes": weights,
                "columns_left": columns // c,
                "rows_left": rows // r,
                "blocks_left": blocks // b,
                "steps": steps,
                **facts,
            }
        )
        if cpu.line is not None:
            products = images if _batched(sch, total) else 1
            found[-1]["again"] = _read_again(found[-1], products, cpu, cpu.line)
    if cpu.by_lane:
        readable = len(sch.get(total).reads) == 2
        return by_lane.variants(found, each, readable, cpu, _window(sch, total, columns))
    return found


def _read_again(config: dict[str, Any], products: int, cpu: Cpu, line: float) -> float:
    """Cycles for what a kernel reads from memory more than once.

    What the second cache holds is left out: it comes while the core computes.

    Args:
        products: that share nothing, one after the other.
    """

    def lines(size: float) -> float:
        return size / LINE * line if size / products > cpu.l2 else 0.0

    inputs, blocks, rows = config["input_bytes"], config["blocks_left"], config["rows_left"]
    tile, columns = blocks * lines(config["tile_bytes"]), config["columns_left"]
    if config["order"] == "channels":
        # A line of the output with room for two blocks is written in two parts.
        parts = max(1.0, LINE / 4 / config["lanes"] / config["blocks"])
        again = (blocks - 1) * lines(inputs) + (parts - 1) * lines(config["output_bytes"])
        return float(again + (rows * columns - 1) * tile)
    again = (rows - 1) * lines(config["weight_bytes"]) + rows * (blocks - 1) * lines(inputs / rows)
    return float(again + rows * (columns - 1) * tile)


def cycles(config: dict[str, Any]) -> float:
    """Cycles of one core, reckoned from what its registers and caches can do."""
    lanes = config["lanes"]
    sums = config["work"] / lanes * max(config["cycles"], config["far"])
    finish = config["output_bytes"] / 4 / lanes * config["epilogue"] / 2
    order = 1.01 if config["order"] == "rows" else 1.0
    return float(sums * order + finish + config.get("again", 0.0))


def apply(sch: s_tir.Schedule, config: dict[str, Any]) -> None:
    """Applies one configuration."""
    parts = _parts(sch)
    assert parts is not None
    register_tile(sch, parts, config, config["lanes"], least_outer=1)
    together = config.get(by_lane.TOGETHER, 1)
    p.sum_in_registers(
        sch,
        parts[0],
        lanes=config["lanes"],
        together=together,
        turns=config.get(by_lane.TURNS, 1),
        run=config.get(by_lane.RUN),
    )
