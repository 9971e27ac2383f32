"""Finds GELU in what ONNX files spell out, and computes it as one function.

``x / 2 * (1 + erf(x / sqrt(2)))`` comes in several orders. (Hendrycks and Gimpel, *Gaussian Error
Linear Units*, 2016.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import tvm
from tvm import ir, relax, te, tirx
from tvm.target import Target

from tvmkd.stacks.relax.expressions import dataflow, number, operator, sizes
from tvmkd.stacks.relax.replaced import replaced
from tvmkd.stacks.relax.vector_math import WHOLE_GELU

SAME = 1e-5
"""Relative difference of constants that files round in their own way."""


def gelu(mod: tvm.IRModule) -> tvm.IRModule:
    """Rewrites ``main`` with ``relax.nn.gelu``; a module without one stays as it is."""
    bindings = dataflow(mod)
    if bindings is None:
        return mod
    values = {binding.var: binding.value for binding in bindings}
    found = {var: _argument(value, values) for var, value in values.items()}
    return replaced(mod, {v: relax.op.nn.gelu(x) for v, x in found.items() if x is not None})


def _argument(value: Any, values: Mapping[Any, Any]) -> Any | None:
    """The ``x`` of a product that is the GELU of it, or None."""
    if operator(value) != "relax.multiply" or str(value.ty.dtype).removeprefix("T.") != "float32":
        return None
    for inner in _factors(value, values, 3):
        x = _of_distribution(inner, values)
        if x is not None:
            rest = 1.0
            seen = 0
            for factor in _factors(value, values, 3, (x, inner)):
                single = number(factor)
                if factor.same_as(x):
                    seen += 1
                elif single is not None:
                    rest *= single
                elif not factor.same_as(inner):
                    return None
            return x if seen == 1 and math.isclose(rest, 0.5, rel_tol=SAME) else None
    return None


def _factors(value: Any, values: Mapping[Any, Any], depth: int, whole: Any = ()) -> list[Any]:
    """The factors of a product; a factor in ``whole`` stays whole, others are products again."""
    value_of = values.get(value, value) if isinstance(value, relax.Var) else value
    if any(value.same_as(each) for each in whole) or not depth:
        return [value]
    if operator(value_of) != "relax.multiply":
        return [value]
    return [each for arg in value_of.args for each in _factors(arg, values, depth - 1, whole)]


def _of_distribution(expr: Any, values: Mapping[Any, Any]) -> Any | None:
    """The ``x`` of ``1 + erf(x / sqrt(2))``, or None."""
    total: Any = values.get(expr) if isinstance(expr, relax.Var) else None
    if operator(total) != "relax.add":
        return None
    for one, other in (total.args, total.args[::-1]):
        if number(one) == 1.0 and isinstance(other, relax.Var):
            function: Any = values.get(other)
            scaled = function.args[0] if operator(function) == "relax.erf" else None
            return _halved(values.get(scaled)) if isinstance(scaled, relax.Var) else None
    return None


def _halved(value: Any) -> Any | None:
    """The ``x`` of ``x / sqrt(2)``, or None."""
    name = operator(value)
    if name not in ("relax.multiply", "relax.divide"):
        return None
    pairs = (value.args, value.args[::-1]) if name == "relax.multiply" else (value.args,)
    for x, factor in pairs:
        single = number(factor)
        if isinstance(x, relax.Var) and single is not None and single > 0:
            found = single if name == "relax.multiply" else 1 / single
            return x if math.isclose(found, math.sqrt(0.5), rel_tol=SAME) else None
    return None


def legalize(builder: relax.BlockBuilder, call: ir.Call) -> relax.Expr | None:
    """A kernel for ``relax.nn.gelu``; None: TVM's own, with erf."""
    target = Target.current(allow_none=True)
    kind = str(call.ty.dtype).removeprefix("T.")
    if target is None or target.kind.name != "llvm" or kind != "float32" or not sizes(call):
        return None
    return builder.emit_te(_kernel, call.args[0], primfunc_name_hint="gelu")


def _kernel(x: te.Tensor) -> te.Tensor:
    return te.compute(
        x.shape, lambda *at: tirx.call_intrin("float32", WHOLE_GELU, x[at]), name="gelu"
    )
