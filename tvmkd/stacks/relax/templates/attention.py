"""Attention: each thread takes blocks of queries, and keeps their scores in its cache."""

from __future__ import annotations

import itertools
import math
from typing import Any

from tvm import s_tir, sym, tirx

from tvmkd.stacks.relax import attention_kernel as names
from tvmkd.stacks.relax.attention_blocks import vector
from tvmkd.stacks.relax.templates import primitives as p
from tvmkd.stacks.relax.templates.cpu import Cpu

EXP = 20
"""Cycles that the softmax of a vector of scores takes."""


def configs(sch: s_tir.Schedule, cpu: Cpu) -> list[dict[str, Any]]:
    """The tiles of scores and of sums that stay in registers, and how queries are transposed."""
    if p.named(sch, names.VALUES) is None:
        return []
    *batch, blocks, columns, block = p.space_extents(sch, p.named(sch, names.SCORES))
    inner = p.extents(sch, p.named(sch, names.QUERIES))[-2]
    size = p.extents(sch, p.named(sch, names.VALUES))[-2]
    lanes, width = vector(block, cpu), vector(size, cpu)
    across, most = block // lanes, cpu.in_registers(lanes)
    facts = {
        "steps": math.prod([*batch, blocks]), "lanes": lanes, "width": width, "block": block,
        "columns": columns, "inner": inner, "size": size,
        "along": "inner" if _neighbours(sch) and inner % lanes == 0 else "queries",
    }  # fmt: skip
    tiles = itertools.product(
        p.divisors(columns, 16), p.divisors(block, 16), p.divisors(size // width, 8)
    )
    found = []
    for keys, queries, vectors in tiles:
        scores, sums = keys * across, queries * vectors
        if max(scores + across - 1, sums + vectors - 1) > most:
            continue
        if scores < min(4, columns * across) or sums < min(4, block * size // width):
            continue
        each = -(-lanes // cpu.lanes) / cpu.fma
        found.append(
            {
                "keys": keys,
                "queries": queries,
                "vectors": vectors,
                "scores_cycles": max(scores * each, (keys + across) / cpu.loads, cpu.latency),
                "values_cycles": max(sums / cpu.fma, (queries + vectors) / cpu.loads, cpu.latency)
                # Loads get in the way of products, those from the second cache more: measured.
                + (queries + vectors) / 4
                + (vectors * width / 16 if 4 * columns * size > cpu.l1 // 2 else 0),
                **facts,
            }
        )
    return found


def cycles(config: dict[str, Any]) -> float:
    """Cycles of one core, reckoned from what its registers and caches can do."""
    block, columns, size = config["block"], config["columns"], config["size"]
    scores = columns / config["keys"] * config["inner"] * config["scores_cycles"]
    tiles = block / config["queries"] * size / (config["vectors"] * config["width"])
    soft = columns * block / config["lanes"] * EXP
    return float(config["steps"] * (scores + tiles * columns * config["values_cycles"] + soft))


def apply(sch: s_tir.Schedule, config: dict[str, Any]) -> None:
    """Applies one configuration."""
    block = {name: sch.get_sblock(name) for name in _ALL}
    batch, (row, column) = _axes(sch, block[names.OUT])
    lanes, width = config["lanes"], config["width"]
    row_out, row_in = sch.split(row, [None, config["block"]])
    tile_out, tile_in = sch.split(row_in, [None, config["queries"]])
    left, vectors, across = sch.split(column, [None, config["vectors"], width])
    sch.reorder(*batch, row_out, left, tile_out, tile_in, vectors, across)
    loop = sch.fuse(*batch, row_out)
    if config["parallel"]:
        sch.parallel(loop)
    p.unroll_tile(sch, [tile_in, vectors, across])
    sch.compute_at(block[names.VALUES], tile_out, preserve_unit_loops=True)
    p.sum_in_registers(sch, block[names.VALUES], lanes=width)
    for name in _FROM_LAST:
        if name == names.QUERIES:
            _scores(sch, block, config["keys"], lanes)
        sch.compute_at(block[name], loop, preserve_unit_loops=True)
        sch.set_scope(block[name], 0, "local")
    *_, inner, query = sch.get_loops(block[names.QUERIES])
    if config["along"] == "inner":
        sch.reorder(query, inner)
        inner, query = query, inner
    sch.vectorize(sch.split(query, [None, lanes])[1])
    for name in (names.MOST, names.TOTAL):
        _folded(sch, block[name], lanes)
    for name in (names.POWERS, names.SHARE):
        sch.vectorize(sch.split(sch.get_loops(block[name])[-1], [None, lanes])[1])


_FROM_LAST = (names.SHARE, names.TOTAL, names.POWERS, names.MOST, names.SHIFTED, names.QUERIES)
_ALL = (*_FROM_LAST, names.SCORES, names.VALUES, names.OUT)


def _axes(sch: s_tir.Schedule, out: Any) -> tuple[list[Any], tuple[Any, Any]]:
    """The output's loops: those of the batch, and those of the queries and of the values."""
    loops, variables = sch.get_loops(out), [axis.var for axis in sch.get(out).iter_vars]
    # It reads ``[*batch, row // block, row % block, column]``.
    *front, _, _, last = sch.get(out).reads[0].region
    places = [_number(variables, region.min) for region in (*front, last)]
    (row,) = set(range(len(loops))) - set(places)
    *batch, column = [loops[place] for place in places]
    return batch, (loops[row], column)


def _number(variables: list[Any], wanted: Any) -> int:
    return next(number for number, each in enumerate(variables) if each.same_as(wanted))


def _neighbours(sch: s_tir.Schedule) -> bool:
    """Whether the elements of a query lie side by side in memory."""
    block = sch.get(p.named(sch, names.QUERIES))
    (index,) = block.reads[0].region
    factors = sym.detect_linear_equation(index.min, [block.iter_vars[-2].var])
    return bool(factors) and isinstance(factors[0], tirx.IntImm) and int(factors[0]) == 1


def _scores(sch: s_tir.Schedule, block: dict[str, Any], keys: int, lanes: int) -> None:
    """A tile of scores in registers, and what becomes of them before they are stored."""
    *_, key, query = sch.get_loops(block[names.SHIFTED])
    key_out, key_in = sch.split(key, [None, keys])
    left, across = sch.split(query, [None, lanes])
    p.unroll_tile(sch, [key_in, left, across])
    sch.compute_at(block[names.SCORES], key_out, preserve_unit_loops=True)
    p.sum_in_registers(sch, block[names.SCORES], lanes=lanes)


def _folded(sch: s_tir.Schedule, block: Any, lanes: int) -> None:
    """A sum or maximum over all keys, of many queries side by side."""
    *_, query, key = sch.get_loops(block)
    left, across = sch.split(query, [None, lanes])
    sch.reorder(key, left, across)
    p.unroll_tile(sch, [left, across])
    start = sch.decompose_reduction(block, key)
    p.unroll_tile(sch, sch.get_loops(start)[-2:])
