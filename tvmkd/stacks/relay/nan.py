"""Lets NaN pass through maxima and minima, as ONNX defines ReLU, Clip, Max and Min.

TVM compiles ``max(a, b)`` to ``a > b ? a : b``, which is ``b`` where one of them is NaN. So the
operand that may be NaN has to be the second one, or is looked at first. Reductions (MaxPool,
ReduceMax) stay as they are: ONNX does not define them for NaN.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relay, tir

_EXTREMES = {"maximum": relay.maximum, "minimum": relay.minimum}


def lower_pass() -> tuple[int, Any]:
    """For ``tir.add_lower_pass``: puts constants first in each maximum and minimum of floats.

    It is the same instruction in both orders.
    """
    return 1, tir.transform.prim_func_pass(_constants_first, opt_level=0, name="keep_nan")


def _constants_first(function: Any, _mod: Any, _context: Any) -> Any:
    def turned(extreme: Any) -> Any:
        if isinstance(extreme.b, tir.FloatImm) and not isinstance(extreme.a, tir.FloatImm):
            return type(extreme)(extreme.b, extreme.a)
        return None

    body = tir.stmt_functor.ir_transform(function.body, None, turned, ["tir.Max", "tir.Min"])
    return function.with_body(body)


def keep_nan(mod: tvm.IRModule) -> tvm.IRModule:
    """The module with maxima and minima of two tensors that are NaN where the first one is."""
    mod = relay.transform.InferType()(mod)
    mod["main"] = _Guard().visit(mod["main"])
    return relay.transform.InferType()(mod)


class _Guard(relay.ExprMutator):  # type: ignore[misc]
    def visit_call(self, call: relay.Call) -> relay.Expr:
        new = super().visit_call(call)
        if not isinstance(call.op, tvm.ir.Op) or call.op.name not in _EXTREMES:
            return new
        left, right = new.args
        if isinstance(left, relay.Constant) or "float" not in call.checked_type.dtype:
            return new
        if isinstance(right, relay.Constant):
            return _EXTREMES[call.op.name](right, left)
        return relay.where(relay.isnan(left), left, new)
