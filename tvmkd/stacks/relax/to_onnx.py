"""A region of a Relax module as an ONNX model, for engines that read ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import tvm
from onnx import helper
from tvm import relax
from tvm.ir.expr import GenericConst

from tvmkd.stacks.relax.onnx_operators import OPSET, TYPES, Unsupported, Writer, convert

IR_VERSION = 8  # TensorRT 8.2's parser was built with ONNX 1.8, which warns of a later one


def _never(argument: Any) -> bool:
    del argument
    return False


def unfit(call: relax.Call, fixed: Callable[[Any], bool] = _never) -> str | None:
    """Why an operator cannot go into a region; None where it can.

    Args:
        call: of an operator, its static arguments in it.
        fixed: whether a second argument, such as weights, is a constant in the region although it
            is none here.
    """
    to = Writer()
    to.fixed.add("c")

    def name(index: int, argument: Any) -> Any:
        if isinstance(argument.ty, relax.TupleType):
            return ["x"] * len(argument.ty.fields)
        constant = isinstance(argument, GenericConst) or (index == 1 and fixed(argument))
        return "c" if constant else "x"

    try:
        convert(to, call, [name(index, argument) for index, argument in enumerate(call.args)])
    except Unsupported as error:
        return str(error)
    return None


def region(function: relax.Function) -> tuple[onnx.ModelProto, list[str], list[str]]:
    """A region as an ONNX model.

    Args:
        function: of tensors, or tuples of them; its operators in composite functions or not.

    Returns:
        the model, and the names of its inputs and outputs in the order of the function's. A free
        size has the name of its variable.

    Raises:
        Unsupported: it holds what cannot be said in ONNX.
    """
    to = Writer()
    inputs = [f"in{index}" for index in range(len(function.params))]
    kinds = [parameter.ty for parameter in function.params]
    if not all(isinstance(kind, relax.TensorType) for kind in kinds):
        raise Unsupported("an input of it is a tuple")
    found = _Walk(to).function(function, inputs)
    results = [function.ret_ty] if not isinstance(found, list) else list(function.ret_ty.fields)
    names = [found] if not isinstance(found, list) else found
    if not all(isinstance(name, str) for name in names):
        raise Unsupported("an output of it is a nested tuple")
    outputs = [f"out{index}" for index in range(len(names))]
    # Renamed by a node of its own: an output may be an input as well, or another output.
    for name, output in zip(names, outputs, strict=True):
        to.nodes.append(helper.make_node("Identity", [name], [output], output))
    graph = helper.make_graph(
        to.nodes,
        "region",
        [_info(name, kind) for name, kind in zip(inputs, kinds, strict=True)],
        [_info(name, kind) for name, kind in zip(outputs, results, strict=True)],
        to.constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    return model, inputs, outputs


def _info(name: str, kind: relax.TensorType) -> onnx.ValueInfoProto:
    if kind.shape is None or not hasattr(kind.shape, "values"):
        raise Unsupported("a shape of it is not known before it runs")
    if str(kind.dtype) not in TYPES:
        raise Unsupported(f"a tensor of {kind.dtype}")
    # A free size that is no variable, n * 4, has no name: ONNX takes any text, but not as an input.
    shape = [
        int(size) if isinstance(size, tvm.tirx.IntImm) else str(size) for size in kind.shape.values
    ]
    return helper.make_tensor_value_info(name, TYPES[str(kind.dtype)], shape)


class _Walk:
    """Goes through a function and the functions inside of it, names in the place of values."""

    def __init__(self, to: Writer) -> None:
        self._to = to

    def function(self, function: relax.Function, inputs: Sequence[Any]) -> Any:
        """The names of a function's result, given those of its arguments."""
        names: dict[Any, Any] = dict(zip(function.params, inputs, strict=True))
        body = function.body
        if isinstance(body, relax.SeqExpr):
            for block in body.blocks:
                for binding in block.bindings:
                    if not isinstance(binding, relax.VarBinding):
                        raise Unsupported("it matches a shape as it runs")
                    names[binding.var] = self._value(binding.value, names)
            body = body.body
        return self._value(body, names)

    def _value(self, value: Any, names: Mapping[Any, Any]) -> Any:
        if isinstance(value, relax.Var):
            return names[value]
        if isinstance(value, GenericConst):
            return self._to.constant(value.value.numpy())
        if isinstance(value, relax.Tuple):
            return [self._value(field, names) for field in value.fields]
        if isinstance(value, relax.TupleGetItem):
            return self._value(value.tuple_value, names)[value.index]
        if isinstance(value, relax.Function):
            return value
        if isinstance(value, relax.Call):
            return self._call(value, names)
        return None  # a shape, a number: its operator reads it itself

    def _call(self, call: relax.Call, names: Mapping[Any, Any]) -> Any:
        inputs = [self._value(argument, names) for argument in call.args]
        if isinstance(call.op, tvm.ir.Op):
            tensors = [name for name in inputs if name is not None]
            return convert(self._to, call, tensors)
        return self.function(names[call.op], inputs)
