"""Quantised tensors in regions that another engine runs: QuantizeLinear and DequantizeLinear.

Upstream's patterns for TensorRT leave them out. Here a quantisation enters a region together with
the dequantisation that reads it, so that no tensor of integers crosses a region's border; and
8-bit weights enter as they are stored, not folded to floats, which would leave TensorRT without
the scales of a convolution's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir.expr import GenericConst
from tvm.relax.dpl.pattern import is_op, wildcard
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvmkd.stacks.relax.expressions import constant, dataflow, operator
from tvmkd.stacks.relax.onnx_operators import BYTES

QUANTIZE, DEQUANTIZE = "relax.quantize", "relax.dequantize"
SYMMETRIC = "its zero point is not 0 or it is unsigned, and TensorRT's INT8 is symmetric"
WEIGHT_AXES = 2
"""How many axes the weights of convolutions and products have at least."""
OUTSIDE = "its integers come from outside of the region"


def simplified(
    mod: tvm.IRModule, simplify: Callable[[tvm.IRModule], tvm.IRModule], symmetric: bool
) -> tvm.IRModule:
    """`tvmkd.stacks.relax.importer.simplify` with 8-bit weights kept, and pairs for the patterns.

    Args:
        mod: as imported, weights as constants; stays as it is.
        simplify: folds constants, and weights that the engine does not read in 8 bits.
        symmetric: see `patterns`.
    """
    bindings = dataflow(mod)
    if bindings is None or not any(operator(each.value) == DEQUANTIZE for each in bindings):
        return simplify(mod)
    lift = _Lift(mod, symmetric)
    main = lift.visit_expr(mod["main"])
    if not lift.weights:
        return _paired(simplify(mod))
    # As parameters, constants are not folded.
    lifted = tvm.IRModule(dict(mod.functions_items()), attrs=mod.attrs)
    lifted.update_func(
        mod.get_global_var("main"),
        relax.Function(
            [*main.params, *lift.weights], main.body, main.ret_ty, main.is_pure, main.attrs
        ),
    )
    done = simplify(lifted)
    count = len(main.params)
    weights = dict(zip(done["main"].params[count:], lift.weights.values(), strict=True))
    return _paired(relax.transform.BindParams("main", weights)(done))


@mutator
class _Lift(PyExprMutator):  # type: ignore[misc]
    """Puts variables in the place of the constants that are dequantised.

    Attributes:
        weights: those constants, by their variables.
    """

    def __init__(self, mod: tvm.IRModule, symmetric: bool) -> None:
        super().__init__(mod)
        self.weights: dict[relax.Var, GenericConst] = {}
        self._symmetric = symmetric

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        data = call.args[0] if operator(call) == DEQUANTIZE else None
        if not isinstance(data, GenericConst) or str(data.ty.dtype) not in BYTES:
            return super().visit_call_(call)
        # Factors and summands: TensorRT reads no scalars in 8 bits, and gains nothing by vectors.
        if len(data.ty.shape) < WEIGHT_AXES:
            return super().visit_call_(call)
        if constant(call.args[2]) is None or (self._symmetric and _lopsided(call)):
            return super().visit_call_(call)
        var = relax.Var(f"weight{len(self.weights)}", data.ty)
        self.weights[var] = data
        return relax.Call(call.op, [var, *call.args[1:]], call.attrs, call.ty_args)


def _paired(mod: tvm.IRModule) -> tvm.IRModule:
    """The module with a quantisation of its own for each dequantisation, and dequantised weights of
    its own for each operator.

    A pattern fits only where nothing outside of it reads what is inside, and weights that two
    regions share would be computed in one and be an input of the other.
    """
    changed = tvm.IRModule(dict(mod.functions_items()), attrs=mod.attrs)
    changed.update_func(mod.get_global_var("main"), _Pair(mod).visit_expr(mod["main"]))
    return relax.transform.DeadCodeElimination()(changed)


@mutator
class _Pair(PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        wanted = QUANTIZE if operator(call) == DEQUANTIZE else DEQUANTIZE
        args = [self._own(arg, wanted) for arg in call.args]
        if all(new.same_as(old) for new, old in zip(args, call.args, strict=True)):
            return call
        return relax.Call(call.op, args, call.attrs, call.ty_args)

    def _own(self, arg: Any, wanted: str) -> Any:
        """A copy of what an argument is computed by, if that is to be the operator's own."""
        value = self.lookup_binding(arg) if isinstance(arg, relax.Var) else None
        if value is None or operator(value) != wanted:
            return arg
        if wanted == DEQUANTIZE and not isinstance(value.args[0], GenericConst):
            return arg
        return self.builder_.emit(relax.Call(value.op, value.args, value.attrs, value.ty_args))


def patterns(
    compiler: str, symmetric: bool, agreed: Callable[[Any, str | None], bool]
) -> list[relax.transform.FusionPattern]:
    """The patterns of quantised tensors, to be tried before upstream's.

    Args:
        compiler: the first part of their names.
        symmetric: refuse what TensorRT does: unsigned integers, and zero points other than 0.
        agreed: decides over what a pattern has matched, given the reason against it, if any.
    """

    def pair_fits(context: Any) -> bool:
        outer = context.matched_expr
        inner = context.matched_bindings[outer.args[0]]
        return agreed(context, _why_not([outer, inner], symmetric))

    def constant_fits(context: Any) -> bool:
        call = context.matched_expr
        if isinstance(call.args[0], GenericConst):
            return agreed(context, _why_not([call], symmetric))
        # A pair that was refused has its reason.
        refused = operator(_value(call.args[0], context)) == QUANTIZE
        return not refused and agreed(context, OUTSIDE)

    quantized = is_op(QUANTIZE)(wildcard(), wildcard(), wildcard())
    pair = is_op(DEQUANTIZE)(quantized, wildcard(), wildcard())
    alone = is_op(DEQUANTIZE)(wildcard(), wildcard(), wildcard())
    make = relax.transform.FusionPattern
    return [
        make(f"{compiler}.quantize_dequantize", pair, {}, pair_fits),
        make(f"{compiler}.dequantize", alone, {}, constant_fits),
    ]


def _value(expr: Any, context: Any) -> Any:
    """What a variable of the function is computed by; the expression itself if it is none."""
    for value, var in context.value_to_bound_var.items():
        if var.same_as(expr):
            return value
    return expr


def _why_not(calls: Sequence[relax.Call], symmetric: bool) -> str | None:
    """Why quantised tensors cannot go into a region, whatever ONNX can say; None if they can."""
    return SYMMETRIC if symmetric and any(map(_lopsided, calls)) else None


def _lopsided(call: relax.Call) -> bool:
    data = call.args[0] if operator(call) == DEQUANTIZE else call
    zero = constant(call.args[2])
    return str(data.ty.dtype) != "int8" or (zero is not None and bool(np.any(zero)))


def is_constant(value: Any, context: Any) -> bool:
    """Whether an operator's argument is a constant that is dequantised in the region.

    Args:
        value: the argument.
        context: of the pattern that has matched the operator.
    """
    found = _value(value, context)
    # The function of the pattern that has taken it before: those come first.
    taken = isinstance(found, relax.Call) and isinstance(found.op, tvm.ir.GlobalVar)
    return taken and not found.args and "dequantize" in found.op.name_hint
