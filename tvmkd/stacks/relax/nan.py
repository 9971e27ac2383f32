"""Lets NaN pass through maxima and minima with constants, as ONNX defines ReLU and Clip."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx


def keep_nan(mod: tvm.IRModule) -> tvm.IRModule:
    """The module with constants first in each maximum and minimum of floats.

    TVM compiles ``max(a, b)`` to ``a > b ? a : b``, which is ``b`` where one of them is NaN. It is
    the same instruction in both orders. This comes after schedules are looked up by their kernel.
    """

    def turn(node: Any) -> Any:
        left, right = node.a, node.b
        if _constant(right) and not _constant(left):
            return type(node)(right, left)
        return None

    result = {}
    for variable, function in mod.functions.items():
        if isinstance(function, tirx.PrimFunc):
            body = tirx.stmt_functor.ir_transform(
                function.body, None, turn, ["tirx.Max", "tirx.Min"]
            )
            function = function.with_body(body)
        result[variable] = function
    return tvm.IRModule(result, attrs=mod.attrs)


def _constant(value: Any) -> bool:
    if isinstance(value, tirx.Broadcast):
        value = value.value
    return isinstance(value, tirx.FloatImm)
