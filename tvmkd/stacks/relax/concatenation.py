"""Concatenation of the last axis, so that vectors need no condition inside.

TVM's own asks whether a part's end is at or before a place; that it does not simplify for a vector
of places, which becomes one branch for each of them. It does simplify whether a place is before a
part's end, where all of a vector is in one part (`tvmkd.stacks.relax.templates.primitives.alike`).
"""

from __future__ import annotations

from tvm import ir, relax, te, tirx

from tvmkd.stacks.relax.expressions import sizes

INJECTIVE = {"op_pattern": 2}
"""Relax's kInjective: elementwise operators behind it are fused, and it into them."""


def concatenate(*parts: te.Tensor) -> te.Tensor:
    """``[..., C1]``, ``[..., C2]`` and so on to ``[..., C1 + C2 + ...]``."""
    counts = [int(part.shape[-1]) for part in parts]

    def value(*at: tirx.Var) -> ir.Expr:
        *outer, place = at
        start = sum(counts[:-1])
        found = parts[-1][(*outer, place - start)]
        for part, count in zip(parts[-2::-1], counts[-2::-1], strict=True):
            end, start = start, start - count
            found = tirx.if_then_else(place < end, part[(*outer, place - start)], found)
        return found

    return te.compute((*parts[0].shape[:-1], sum(counts)), value, name="concatenate")


def legalize(builder: relax.BlockBuilder, call: ir.Call) -> relax.Expr | None:
    """A ``relax.concat`` of the last axis; None: of another one, or of free sizes."""
    fields = call.args[0]
    parts = list(fields.fields) if isinstance(fields, relax.Tuple) else []
    shapes = [sizes(part) for part in parts]
    if len(parts) < 2 or any(not shape or 0 in shape for shape in shapes):
        return None
    rank = len(shapes[0] or [])
    axis = 0 if call.attrs.axis is None else int(call.attrs.axis)
    if rank < 2 or axis % rank != rank - 1:
        return None
    return builder.call_te(
        concatenate, *parts, primfunc_name_hint="concatenate", primfunc_attrs=INJECTIVE
    )
