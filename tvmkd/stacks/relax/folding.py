"""Folds small computations on constants with numpy, in the place of kernels compiled for them.

TVM's `FoldConstant` compiles and loads a kernel for each operator that it folds, 80 ms each: as
long as the rest of the import for a network with many normalisations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst
from tvm.relax.expr_functor import PyExprMutator, mutator

DTYPES = ("float32", "float64", "int32", "int64")
"""Half precision is left to TVM, which rounds elsewhere."""

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "relax.add": np.add,
    "relax.subtract": np.subtract,
    "relax.multiply": np.multiply,
}
_FLOATS: dict[str, Callable[..., Any]] = {
    "relax.divide": np.divide,
    "relax.sqrt": np.sqrt,
    "relax.negative": np.negative,
}
"""IEEE arithmetic that numpy and TVM round alike; of floats, since integers are divided in two
ways.
"""


def fold(mod: tvm.IRModule) -> tvm.IRModule:
    """Replaces what ``main`` computes from constants by elementary operators."""
    main = mod["main"]
    if not isinstance(main.body, relax.SeqExpr):
        return mod
    known: dict[relax.Var, GenericConst] = {}
    for block in main.body.blocks:
        for binding in block.bindings:
            if isinstance(binding, relax.VarBinding):
                found = _folded(binding.value, known)
                if found is not None:
                    known[binding.var] = found
    if not known:
        return mod
    changed = tvm.IRModule(dict(mod.functions.items()), attrs=mod.attrs)
    changed.update_func(mod.get_global_var("main"), _Replaced(mod, known).visit_expr(main))
    return relax.transform.DeadCodeElimination()(changed)


def left(mod: tvm.IRModule) -> bool:
    """Whether ``main`` still computes something from constants alone."""
    found = False

    def visit(expr: relax.Expr) -> None:
        nonlocal found
        if isinstance(expr, tvm.ir.Call) and isinstance(expr.op, tvm.ir.Op):
            kinds = (relax.TensorType, relax.TupleType)
            tensors = [arg for arg in expr.args if isinstance(arg.ty, kinds)]
            found = found or all(isinstance(arg, GenericConst) for arg in tensors)

    relax.analysis.post_order_visit(mod["main"], visit)
    return found


@mutator
class _Replaced(PyExprMutator):  # type: ignore[misc]
    def __init__(self, mod: tvm.IRModule, known: dict[relax.Var, GenericConst]) -> None:
        super().__init__(mod)
        self._known = known

    def visit_var_(self, var: relax.Var) -> relax.Expr:
        return self._known[var] if var in self._known else super().visit_var_(var)

    def visit_dataflow_var_(self, var: relax.Var) -> relax.Expr:
        return self._known[var] if var in self._known else super().visit_dataflow_var_(var)


def _folded(value: relax.Expr, known: dict[relax.Var, GenericConst]) -> GenericConst | None:
    """The constant that an expression is, or None."""
    if isinstance(value, GenericConst):
        return value
    if not isinstance(value, tvm.ir.Call) or not isinstance(value.op, tvm.ir.Op):
        return None
    arrays = []
    for arg in value.args:
        if isinstance(arg, tvm.tirx.IntImm | tvm.tirx.FloatImm):
            arrays.append(np.asarray(arg.value, str(arg.ty)))
            continue
        if not isinstance(arg.ty, relax.TensorType):
            continue
        array = _array(known.get(arg, arg) if isinstance(arg, relax.Var) else arg)
        if array is None:
            return None
        arrays.append(array)
    with np.errstate(all="ignore"):
        result = _computed(value, arrays)
    try:
        shape = [int(size) for size in value.ty.shape]
    except (TypeError, AttributeError):
        return None
    if result is None or [*result.shape] != shape or str(result.dtype) != str(value.ty.dtype):
        return None
    return relax.const(np.ascontiguousarray(result))


def _array(expr: relax.Expr) -> np.ndarray | None:
    if not isinstance(expr, GenericConst) or not isinstance(expr.value, tvm.runtime.Tensor):
        return None
    return expr.value.numpy() if str(expr.value.dtype) in DTYPES else None


def _computed(call: tvm.ir.Call, arrays: list[np.ndarray]) -> np.ndarray | None:
    name, attrs = call.op.name, call.attrs
    if name in _BINARY:
        return np.asarray(_BINARY[name](*arrays))
    if name in _FLOATS and all(array.dtype.kind == "f" for array in arrays):
        return np.asarray(_FLOATS[name](*arrays))
    if name == "relax.expand_dims":
        return np.expand_dims(arrays[0], tuple(int(axis) for axis in attrs.axis))
    if name == "relax.permute_dims":
        axes = None if attrs.axes is None else [int(axis) for axis in attrs.axes]
        return arrays[0].transpose(axes)
    if name == "relax.reshape" and isinstance(call.args[1], relax.ShapeExpr):
        sizes = call.args[1].values
        if all(isinstance(size, tvm.tirx.IntImm) for size in sizes):
            return arrays[0].reshape([int(size) for size in sizes])
    return None
