"""Attention as one kernel: scores, softmax and the sum of the values, a few queries at a time.

The scores of a block of queries stay in the first or second cache. The queries of a block lie side
by side in vectors: then the largest score and the sum of a row need no sum across a vector, keys
and values are read as they are, and only the few queries are transposed. (Of Dao et al.,
*FlashAttention*, 2022, this keeps that scores are never written to memory; all keys of a row are
known here before its softmax, so that nothing has to be scaled again.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx

from tvmkd.stacks.relax.kernels import whole
from tvmkd.stacks.relax.strided import Strided
from tvmkd.stacks.relax.vector_math import EXP_NEGATIVE

QUERIES, SCORES, SHIFTED = "attention_queries", "attention_scores", "attention_shifted"
MOST, POWERS, TOTAL = "attention_most", "attention_powers", "attention_total"
SHARE, VALUES, OUT = "attention_share", "attention_values", "attention"
"""Block names; the schedule template recognises this kernel by them."""

OPAQUE = 8
"""Relax's kOpaque: nothing is fused into the kernel."""


@dataclass(frozen=True)
class Operand:
    """A tensor that a kernel reads: a view of one of its arguments.

    Attributes:
        source: the number of the argument.
        view: of it.
        filled: whether there is something to read for the queries that fill up the last block.
    """

    source: int
    view: Strided
    filled: bool = False


@dataclass(frozen=True)
class Step:
    """What becomes of the scores before the softmax.

    Attributes:
        kind: ``add``, ``subtract``, ``multiply`` or ``divide`` by ``operand``; ``keep`` the scores
            where the operand, of truth values, is true, or ``drop`` them there.
        operand: a number, or a view ``[*batch, queries, keys]``.
        other: for ``keep`` and ``drop``: what takes the place of a score.
    """

    kind: str
    operand: Operand | float
    other: float = 0.0


@dataclass(frozen=True)
class Attention:
    """``softmax(steps(scale * queries keysᵀ)) values``.

    Attributes:
        queries, keys, values: ``[*batch, M, K]``, ``[*batch, N, K]`` and ``[*batch, N, D]``.
        scale: of the scores.
        steps: what else becomes of them.
        order: of the output's axes: a permutation of ``[*batch, M, D]``.
        block: how many queries are computed together.
    """

    queries: Operand
    keys: Operand
    values: Operand
    scale: float
    steps: tuple[Step, ...]
    order: tuple[int, ...]
    block: int

    @property
    def batch(self) -> tuple[int, ...]:
        """The axes in front."""
        return self.queries.view.shape[:-2]


def kernel(found: Attention, sources: Sequence[te.Tensor]) -> te.Tensor:
    """The tensor expression.

    Args:
        found: what is computed.
        sources: flat arrays: the arguments.

    Returns:
        ``[*batch, M, D]`` with its axes in ``found.order``.
    """
    batch, block = found.batch, found.block
    (rows, inner), columns = found.queries.view.shape[-2:], found.keys.view.shape[-2]
    size, front = found.values.view.shape[-1], len(batch)
    blocks, computed = -(-rows // block), whole(columns)

    def load(operand: Operand, *place: Any) -> Any:
        return sources[operand.source][operand.view.at(place)]

    def query(at: Sequence[Any], lane: Any, filled: bool = False) -> Any:
        number = at[front] * block + lane
        return number if filled or rows % block == 0 else tirx.min(number, rows - 1)

    def key(number: Any) -> Any:
        return number if computed == columns else tirx.min(number, columns - 1)

    def turned(*at: Any) -> Any:
        value = load(found.queries, *at[:front], query(at, at[-1]), at[-2])
        return value if found.scale == 1.0 else value * tirx.const(found.scale, "float32")

    queries = te.compute((*batch, blocks, inner, block), turned, name=QUERIES)
    k = te.reduce_axis((0, inner), "k")
    scores = te.compute(
        (*batch, blocks, computed, block),
        lambda *at: te.sum(
            load(found.keys, *at[:front], key(at[-2]), k) * queries[(*at[:-2], k, at[-1])], axis=[k]
        ),
        name=SCORES,
    )

    def shift(*at: Any) -> Any:
        value = scores[at]
        for step in found.steps:
            other: Any = step.operand
            if isinstance(other, Operand):
                other = load(other, *at[:front], query(at, at[-1], other.filled), key(at[-2]))
            value = _changed(step, value, other)
        return value

    shifted = te.compute((*batch, blocks, computed, block), shift, name=SHIFTED)
    # The last key may be there twice, which changes no maximum.
    n = te.reduce_axis((0, computed), "n")
    most = te.compute(
        (*batch, blocks, block),
        lambda *at: te.max(shifted[(*at[:-1], n, at[-1])], axis=[n]),
        name=MOST,
    )
    powers = te.compute(
        (*batch, blocks, columns, block),
        lambda *at: tirx.call_intrin(
            "float32", EXP_NEGATIVE, shifted[at] - most[(*at[:-2], at[-1])]
        ),
        name=POWERS,
    )
    m = te.reduce_axis((0, columns), "m")
    total = te.compute(
        (*batch, blocks, block),
        lambda *at: te.sum(powers[(*at[:-1], m, at[-1])], axis=[m]),
        name=TOTAL,
    )
    share = te.compute((*batch, blocks, block), lambda *at: 1.0 / total[at], name=SHARE)
    j = te.reduce_axis((0, columns), "j")
    values = te.compute(
        (*batch, blocks, block, size),
        lambda *at: te.sum(
            powers[(*at[:-2], j, at[-2])] * load(found.values, *at[:front], j, at[-1]), axis=[j]
        ),
        name=VALUES,
    )

    def out(*at: Any) -> Any:
        place = [at[found.order.index(axis)] for axis in range(front + 2)]
        *where, row, column = place
        tile = (*where, row // block, row % block)
        return values[(*tile, column)] * share[tile]

    shape = [(*batch, rows, size)[axis] for axis in found.order]
    return te.compute(shape, out, name=OUT)


def _changed(step: Step, value: Any, other: Any) -> Any:
    if step.kind == "add":
        return value + other
    if step.kind == "subtract":
        return value - other
    if step.kind == "multiply":
        return value * other
    if step.kind == "divide":
        return value / other
    instead = tirx.const(step.other, "float32")
    kept, dropped = (value, instead) if step.kind == "keep" else (instead, value)
    return tirx.Select(tirx.Cast("bool", other), kept, dropped)
