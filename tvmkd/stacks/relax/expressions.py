"""What the expressions of a Relax graph are."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir.expr import GenericConst


def dataflow(mod: tvm.IRModule) -> list[Any] | None:
    """The bindings of ``main``; None: it is not one dataflow block."""
    blocks = mod["main"].body.blocks
    if len(blocks) != 1 or not isinstance(blocks[0], relax.DataflowBlock):
        return None
    return list(blocks[0].bindings)


def operator(value: Any) -> str:
    """The name of the operator that is called; empty: it is no such call."""
    known = isinstance(value, tvm.ir.Call) and isinstance(value.op, tvm.ir.Op)
    return str(value.op.name) if known else ""


def constant(expr: Any) -> np.ndarray | None:
    """The values of a constant; None: it is none."""
    return expr.value.numpy() if isinstance(expr, GenericConst) else None


def sizes(expr: Any) -> list[int] | None:
    """The shape of a tensor; None: it is not fixed."""
    values = getattr(getattr(expr.ty, "shape", None), "values", None)
    if values is None or not all(isinstance(v, (int, tvm.tirx.IntImm)) for v in values):
        return None
    return [int(v) for v in values]


def number(expr: Any) -> float | None:
    """A constant of one element, or the value of an attribute that is passed as an argument."""
    array = constant(expr)
    if array is not None:
        return float(array.reshape(-1)[0]) if array.size == 1 else None
    value = getattr(expr, "value", expr)
    value = getattr(value, "value", value)
    return float(value) if isinstance(value, (int, float)) else None


def bounds(value: Any) -> tuple[float, float] | None:
    """The bounds of an operator that limits its input."""
    name = operator(value)
    if name in ("relax.nn.relu", "relax.nn.relu6"):
        return 0.0, np.inf if name == "relax.nn.relu" else 6.0
    numbers = [number(arg) for arg in value.args[1:]] if name else []
    if name == "relax.clip" and None not in numbers:
        return numbers[0], numbers[1]  # type: ignore[return-value]
    if name in ("relax.maximum", "relax.minimum") and numbers[0] is not None:
        return (numbers[0], np.inf) if name == "relax.maximum" else (-np.inf, numbers[0])
    return None


def variables(expr: Any) -> list[Any]:
    """The variables that an expression reads, each as often as it does."""
    if isinstance(expr, relax.Var):
        return [expr]
    if isinstance(expr, relax.Tuple):
        return [var for field in expr.fields for var in variables(field)]
    if isinstance(expr, relax.TupleGetItem):
        return variables(expr.tuple_value)
    if isinstance(expr, tvm.ir.Call):
        return [var for arg in expr.args for var in variables(arg)]
    return []
