"""Has sums of half-precision numbers computed in float32, as ONNX Runtime computes them.

A float16 sum stops growing where its terms fall below half a unit in its last place: 2048 ones add
up to 2048, and so do 4096. TVM sums in the dtype of the operator's output.
"""

from __future__ import annotations

import tvm
from tvm import relay

HALF, WIDE = "float16", "float32"

PRODUCTS = {
    name: getattr(relay.nn, name)
    for name in (
        *("conv1d", "conv2d", "conv3d", "conv1d_transpose", "conv2d_transpose", "conv3d_transpose"),
        *("dense", "matmul", "batch_matmul"),
    )
}
"""These read their factors as they are and can give float32: weights stay small in memory."""

SUMS = {
    *("sum", "mean", "prod", "variance", "cumsum", "cumprod"),
    *("nn.softmax", "nn.log_softmax", "nn.layer_norm", "nn.group_norm", "nn.instance_norm"),
    *("nn.l2_normalize", "nn.lrn", "nn.global_avg_pool2d"),
    *(f"nn.avg_pool{rank}d" for rank in (1, 2, 3)),
    *(f"nn.adaptive_avg_pool{rank}d" for rank in (1, 2, 3)),
}
"""Operators that are computed in float32 as a whole, between two casts."""


def sums_in_float32(mod: tvm.IRModule) -> tvm.IRModule:
    """Rewrites the half-precision operators of ``main`` that sum; other modules stay as they are.

    Args:
        mod: an imported module, before its layouts change.
    """
    mod = relay.transform.InferType()(mod)
    found = False

    def look(expr: relay.Expr) -> None:
        nonlocal found
        if isinstance(expr, (relay.Call, relay.Var, relay.Constant)):
            found = found or getattr(expr.checked_type, "dtype", "") == HALF

    relay.analysis.post_order_visit(mod["main"], look)
    if found:
        mod["main"] = _Widen().visit(mod["main"])
        mod = relay.transform.InferType()(mod)
    return mod


class _Widen(relay.ExprMutator):  # type: ignore[misc]
    def visit_call(self, call: relay.Call) -> relay.Expr:
        new = super().visit_call(call)
        name = call.op.name if isinstance(call.op, tvm.ir.Op) else ""
        halves = [getattr(arg.checked_type, "dtype", "") == HALF for arg in call.args]
        if not any(halves) or getattr(call.checked_type, "dtype", "") != HALF:
            return new
        product = PRODUCTS.get(name.removeprefix("nn."))
        if product is not None:
            settings = {
                field.name: getattr(call.attrs, field.name)
                for field in call.attrs.list_field_info()
            }
            return relay.cast(product(*new.args, **{**settings, "out_dtype": WIDE}), HALF)
        if name in SUMS:
            pairs = zip(new.args, halves, strict=True)
            args = [relay.cast(arg, WIDE) if half else arg for arg, half in pairs]
            return relay.cast(relay.Call(call.op, args, call.attrs), HALF)
        return new
