"""Has sums of half-precision numbers computed in float32, as ONNX Runtime computes them.

A float16 sum stops growing where its terms fall below half a unit in its last place: 2048 ones add
up to 2048, and so do 4096. TVM sums in the dtype of the operator's output.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

HALVES, WIDE = ("float16", "bfloat16"), "float32"

CONVOLUTIONS = {
    f"relax.nn.{name}": getattr(relax.op.nn, name)
    for name in ("conv1d", "conv2d", "conv3d", "conv2d_transpose")
}
"""These read their factors as they are and can give float32: weights stay small in memory."""

SUMS = {
    f"relax.{name}"
    for name in [
        *("sum", "mean", "prod", "variance", "std", "cumsum", "cumprod"),
        *("nn.softmax", "nn.log_softmax", "nn.layer_norm", "nn.group_norm", "nn.instance_norm"),
        *("nn.rms_norm", "nn.conv1d_transpose", "nn.conv3d_transpose", "nn.attention"),
        *(f"nn.avg_pool{rank}d" for rank in (1, 2, 3)),
        *(f"nn.adaptive_avg_pool{rank}d" for rank in (1, 2, 3)),
    ]
}
"""Operators that are computed in float32 as a whole, between two casts."""


def is_half(mod: tvm.IRModule) -> bool:
    """Whether ``main`` holds a half-precision tensor."""
    found = False

    def look(expr: relax.Expr) -> None:
        nonlocal found
        found = found or _dtype(expr) in HALVES

    relax.analysis.post_order_visit(mod["main"], look)
    return found


def sums_in_float32(mod: tvm.IRModule) -> tvm.IRModule:
    """Rewrites the half-precision operators of ``main`` that sum; other modules stay as they are.

    Args:
        mod: an imported module, before its operators become kernels.
    """
    if not is_half(mod):
        return mod
    changed = tvm.IRModule(dict(mod.functions.items()), attrs=mod.attrs)
    changed.update_func(mod.get_global_var("main"), _Widen(mod).visit_expr(mod["main"]))
    return changed


def _dtype(expr: relax.Expr) -> str:
    return str(getattr(getattr(expr, "ty", None), "dtype", ""))


@mutator
class _Widen(PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        name = call.op.name if isinstance(call.op, tvm.ir.Op) else ""
        half = _dtype(call.args[0]) if call.args else ""
        if half not in HALVES:
            return call
        if name == "relax.matmul":
            wide = relax.op.matmul(*call.args, out_dtype=WIDE)
        elif name in CONVOLUTIONS:
            settings = {**_fields(call.attrs), "out_dtype": WIDE}
            wide = CONVOLUTIONS[name](*call.args, **settings)
        elif name in SUMS:
            args = [self._wide(arg) for arg in call.args]
            wide = tvm.ir.Call(call.op, args, call.attrs, call.ty_args)
        else:
            return call
        return relax.op.astype(self.builder_.emit(wide), half)

    def _wide(self, arg: relax.Expr) -> relax.Expr:
        return self.builder_.emit(relax.op.astype(arg, WIDE)) if _dtype(arg) in HALVES else arg


def _fields(attrs: tvm.ir.Attrs) -> dict[str, Any]:
    """The attributes of an operator by name, as its function in `relax.op` takes them."""
    named = type(attrs).__tvm_ffi_type_info__.fields
    return {field.name: getattr(attrs, field.name) for field in named}
