"""Folds what only rearranges a constant: with numpy.

`relay.transform.FoldConstant` compiles a kernel for each such call, and a change of layout adds
one or two a convolution: 10 s for MobileNetV3-small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relay

RESHAPING = ("expand_dims", "reshape", "squeeze")  # the result has the same elements in order
REARRANGING = (*RESHAPING, "transpose", "layout_transform")


class _Fold(relay.ExprMutator):  # type: ignore[misc]
    def visit_call(self, call: relay.Call) -> relay.Expr:
        new = super().visit_call(call)
        if not isinstance(call.op, tvm.ir.Op) or call.op.name not in REARRANGING:
            return new
        if not isinstance(new.args[0], relay.Constant):
            return new
        found = _rearranged(call, new.args[0].data.numpy())
        return new if found is None else relay.const(np.ascontiguousarray(found))


def _rearranged(call: relay.Call, data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """The result of a call on a constant; None if it does more than rearrange its elements."""
    name, attributes = call.op.name, call.attrs
    if name in RESHAPING and len(call.args) == 1:
        return data.reshape([int(size) for size in call.checked_type.shape])
    if name == "transpose":
        axes = attributes.axes
        return data.transpose(None if axes is None else [int(axis) for axis in axes])
    if name == "layout_transform":
        before, after = attributes.src_layout, attributes.dst_layout
        if before.isalpha() and sorted(before) == sorted(after):  # no axis is split
            return data.transpose([before.index(axis) for axis in after])
    return None


def fold_rearranged(mod: tvm.IRModule) -> tvm.IRModule:
    """Replaces reshaped and transposed constants of ``main`` by constants; nothing else changes."""
    mod = relay.transform.InferType()(mod)
    mod["main"] = _Fold().visit(mod["main"])
    return relay.transform.InferType()(mod)
