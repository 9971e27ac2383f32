"""Softmax, normalisation and reductions over rows: tensor expressions that vectorise.

A sum over neighbouring elements is one chain of additions, which LLVM must not reorder. Here each
row is folded into up to 32 independent partial results first, and these into one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import ir, relax, te, tirx

from tvmkd.stacks.relax import concatenation, gelu, lookup, quantize
from tvmkd.stacks.relax.expressions import sizes

LANES_NAME, TOTAL = "row_lanes", "row_total"
"""Ends of block names; the schedule template recognises these kernels by them."""
OPAQUE = {"op_pattern": 8}
LEAST = 16
"""Elements of a row from which partial results are worth their code."""

Combine = Callable[..., Any]
Value = Callable[[Any, Any], Any]


def lanes_for(size: int) -> int:
    """The number of partial results of a row: enough to hide the latency of an addition."""
    for lanes, least in ((32, 128), (16, 32), (8, LEAST)):
        if size >= least:
            return lanes
    return 1


def _fold(rows: int, size: int, value: Value, combine: Combine, name: str) -> Any:
    """Folds each row; ``value(row, column)`` is what is folded. Shape ``[rows]``."""
    lanes = lanes_for(size)
    if lanes == 1:
        k = te.reduce_axis((0, size), "k")
        return te.compute((rows,), lambda r: combine(value(r, k), axis=[k]), name=f"{name}_{TOTAL}")
    steps, left = divmod(size, lanes)
    k = te.reduce_axis((0, steps), "k")
    partial = te.compute(
        (rows, lanes),
        lambda r, lane: combine(value(r, k * lanes + lane), axis=[k]),
        name=f"{name}_{LANES_NAME}",
    )
    j = te.reduce_axis((0, lanes + left), "j")

    def last(r: Any) -> Any:
        if not left:
            return combine(partial[r, j], axis=[j])
        rest = value(r, steps * lanes + j - lanes)
        return combine(tirx.if_then_else(j < lanes, partial[r, j], rest), axis=[j])

    return te.compute((rows,), last, name=f"{name}_{TOTAL}")


def _at(x: te.Tensor) -> Value:
    return lambda r, i: x[r, i]


def softmax(x: te.Tensor, log: bool) -> te.Tensor:
    """Softmax of each row of ``[rows, size]``, or its logarithm."""
    rows, size = (int(extent) for extent in x.shape)
    most = _fold(rows, size, _at(x), te.max, "most")
    if log:
        total = _fold(rows, size, lambda r, i: tirx.exp(x[r, i] - most[r]), te.sum, "exp")
        shift = te.compute((rows,), lambda r: tirx.log(total[r]), name="shift")
        # Not x - (most + shift): beside large logits the shift would be rounded away.
        return te.compute(
            (rows, size), lambda r, i: (x[r, i] - most[r]) - shift[r], name="log_softmax"
        )
    powers = te.compute((rows, size), lambda r, i: tirx.exp(x[r, i] - most[r]), name="powers")
    total = _fold(rows, size, _at(powers), te.sum, "exp")
    scale = te.compute((rows,), lambda r: 1.0 / total[r], name="scale")
    return te.compute((rows, size), lambda r, i: powers[r, i] * scale[r], name="softmax")


def layer_norm(x: te.Tensor, gamma: te.Tensor, beta: te.Tensor, epsilon: float) -> te.Tensor:
    """Layer normalisation of each row of ``[rows, size]``; gamma and beta ``[size]``."""
    rows, size = (int(extent) for extent in x.shape)
    mean, factor = _moments(x, epsilon)
    return te.compute(
        (rows, size),
        lambda r, i: (x[r, i] - mean[r]) * factor[r] * gamma[i] + beta[i],
        name="layer_norm",
    )


def rms_norm(x: te.Tensor, gamma: te.Tensor, epsilon: float) -> te.Tensor:
    """Division of each row of ``[rows, size]`` by its root mean square; gamma ``[size]``."""
    rows, size = (int(extent) for extent in x.shape)
    squares = _fold(rows, size, lambda r, i: x[r, i] * x[r, i], te.sum, "squares")
    factor = te.compute(
        (rows,), lambda r: 1.0 / tirx.sqrt(squares[r] * (1.0 / size) + epsilon), name="factor"
    )
    return te.compute((rows, size), lambda r, i: x[r, i] * factor[r] * gamma[i], name="rms_norm")


def _moments(x: te.Tensor, epsilon: float) -> tuple[te.Tensor, te.Tensor]:
    """The mean of each row, and 1 / sqrt(variance + epsilon)."""
    rows = int(x.shape[0])
    mean, squares = _mean_and_squares(x)
    share = 1.0 / int(x.shape[1])
    factor = te.compute(
        (rows,), lambda r: 1.0 / tirx.sqrt(squares[r] * share + epsilon), name="factor"
    )
    return mean, factor


def _mean_and_squares(x: te.Tensor) -> tuple[te.Tensor, te.Tensor]:
    """In several passes: the square of the mean may be far larger than the variance.

    The mean is corrected by what the elements differ from it: of equal elements it is exact.
    """
    rows, size = (int(extent) for extent in x.shape)
    total = _fold(rows, size, _at(x), te.sum, "sum")
    near = te.compute((rows,), lambda r: total[r] * (1.0 / size), name="near")
    rest = _fold(rows, size, lambda r, i: x[r, i] - near[r], te.sum, "rest")
    mean = te.compute((rows,), lambda r: near[r] + rest[r] * (1.0 / size), name="mean")

    def square(r: Any, i: Any) -> Any:
        return (x[r, i] - mean[r]) * (x[r, i] - mean[r])

    return mean, _fold(rows, size, square, te.sum, "squares")


def reduction(x: te.Tensor, kind: str) -> te.Tensor:
    """``sum``, ``mean``, ``max``, ``min`` or ``variance`` of each row of ``[rows, size]``."""
    rows, size = (int(extent) for extent in x.shape)
    if kind == "variance":
        _, found = _mean_and_squares(x)
    else:
        combine = {"max": te.max, "min": te.min}.get(kind, te.sum)
        found = _fold(rows, size, _at(x), combine, kind)
    if kind in ("mean", "variance"):
        return te.compute((rows,), lambda r: found[r] * (1.0 / size), name="mean")
    return te.compute((rows,), lambda r: found[r], name="result")


# How Relax's operators become these kernels.


def _sizes(expr: relax.Expr) -> list[int] | None:
    return sizes(expr) if str(expr.ty.dtype) == "float32" else None


def _rows(call: ir.Call, axes: Sequence[Any] | None) -> tuple[list[int], int, int] | None:
    """Shape, rows and row size where ``axes`` are the last ones of a long enough row."""
    shape = _sizes(call.args[0])
    if shape is None or axes is None or not shape:
        return None
    found = sorted(int(axis) % len(shape) for axis in axes)
    if not found or found != list(range(len(shape) - len(found), len(shape))):
        return None
    size = math.prod(shape[found[0] :])
    if size < LEAST:
        return None
    return shape, math.prod(shape[: found[0]]), size


def _softmax(builder: relax.BlockBuilder, call: ir.Call) -> relax.Expr | None:
    found = _rows(call, [call.attrs.axis])
    if found is None:
        return None
    shape, rows, size = found
    flat = builder.emit(relax.op.reshape(call.args[0], [rows, size]))
    log = call.op.name == "relax.nn.log_softmax"
    made = builder.emit_te(
        softmax, flat, log, primfunc_name_hint=call.op.name.split(".")[-1], primfunc_attrs=OPAQUE
    )
    return relax.op.reshape(made, shape)


def _norm(builder: relax.BlockBuilder, call: ir.Call) -> relax.Expr | None:
    found = _rows(call, call.attrs.axes)
    if found is None:
        return None
    shape, rows, size = found
    flat = builder.emit(relax.op.reshape(call.args[0], [rows, size]))
    factors = [builder.emit(relax.op.reshape(each, [size])) for each in call.args[1:]]
    if any(_sizes(factor) is None for factor in factors):
        return None
    epsilon = float(call.attrs.epsilon)
    if call.op.name == "relax.nn.layer_norm":
        if not (call.attrs.center and call.attrs.scale):
            return None
        made = builder.emit_te(
            layer_norm, flat, *factors, epsilon,
            primfunc_name_hint="layer_norm", primfunc_attrs=OPAQUE,
        )  # fmt: skip
    else:
        made = builder.emit_te(
            rms_norm, flat, *factors, epsilon, primfunc_name_hint="rms_norm", primfunc_attrs=OPAQUE
        )
    return relax.op.reshape(made, shape)


def _reduced(builder: relax.BlockBuilder, call: ir.Call) -> relax.Expr | None:
    found = _rows(call, call.attrs.axis)
    if found is None:
        return None
    _, rows, size = found
    flat = builder.emit(relax.op.reshape(call.args[0], [rows, size]))
    kind = call.op.name.removeprefix("relax.")
    made = builder.emit_te(
        reduction, flat, kind, primfunc_name_hint=f"row_{kind}", primfunc_attrs=OPAQUE
    )
    return relax.op.reshape(made, [int(extent) for extent in call.ty.shape])


_RULES = {
    "relax.nn.softmax": _softmax,
    "relax.nn.log_softmax": _softmax,
    "relax.nn.layer_norm": _norm,
    "relax.nn.rms_norm": _norm,
    **{f"relax.{kind}": _reduced for kind in ("sum", "mean", "max", "min", "variance")},
    "relax.take": lookup.legalize,
    "relax.quantize": quantize.legalize,
    "relax.concat": concatenation.legalize,
    "relax.nn.gelu": gelu.legalize,
}


def legalizations() -> dict[str, Callable[[relax.BlockBuilder, ir.Call], relax.Expr]]:
    """What `relax.transform.LegalizeOps` is to make of operators that have kernels of ours."""

    def rule(name: str) -> Callable[[relax.BlockBuilder, ir.Call], relax.Expr]:
        own, original = _RULES[name], ir.Op.get(name).get_attr("FLegalize")

        def legalize(builder: relax.BlockBuilder, call: ir.Call) -> relax.Expr:
            made = own(builder, call)
            return original(builder, call) if made is None else made

        return legalize

    return {name: rule(name) for name in _RULES}
