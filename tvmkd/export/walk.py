"""Visits every node of an ONNX model, bodies of control flow included, and replaces it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import onnx
import onnx.shape_inference
from onnx import TensorProto, helper

from tvmkd.base.errors import InputError
from tvmkd.export.graph import bodies
from tvmkd.export.site import OURS, Scope

_LARGE = 1 << 10  # elements: more than any list of axes, sizes or pads has

# What comes in place of a node, in order.
Visit = Callable[[onnx.NodeProto, Scope], list[onnx.NodeProto]]


def rewrite(
    model: onnx.ModelProto, scope: Scope, visit: Visit, where: str, *, strict: bool = True
) -> onnx.GraphProto:
    """Puts what ``visit`` returns in place of each node, in place.

    Args:
        model: with fixed input shapes.
        scope: empty; its names, opsets and problems are shared by the scopes of all bodies.
        visit: is called with a node and the scope that it is in.
        where: names the model in errors.
        strict: False: where inference of the whole model fails, types are inferred node by node.

    Returns:
        the graph as it was, with inferred types.

    Raises:
        InputError: the model's shapes contradict each other.
    """
    try:
        graph = inferred(model, where)
    except InputError:
        if strict:
            raise
        graph = skeleton(model).graph
    _rewrite(model.graph, graph, scope, visit)
    return graph


def _rewrite(graph: onnx.GraphProto, typed: onnx.GraphProto, outer: Scope, visit: Visit) -> None:
    scope = _inside(graph, typed, outer)
    nodes: list[onnx.NodeProto] = []
    changed = False
    for node, twin in zip(graph.node, typed.node, strict=True):
        result = visit(node, scope)
        changed |= len(result) != 1 or result[0] is not node
        if any(each is node for each in result):
            for body, other in zip(bodies(node), bodies(twin), strict=False):
                _rewrite(body, other, scope, visit)
        nodes += result
    if changed:
        del graph.node[:]
        graph.node.extend(nodes)


def _inside(graph: onnx.GraphProto, typed: onnx.GraphProto, outer: Scope) -> Scope:
    types, constants = dict(outer.types), dict(outer.constants)
    for entry in (*typed.input, *typed.value_info, *typed.output):
        types[entry.name] = entry.type
    for tensor in graph.initializer:
        constants[tensor.name] = tensor
        types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    scope = Scope(types, constants, outer.taken, outer.source, outer.target, outer.problems)
    for node in graph.node:
        if node.op_type == "Constant":
            scope.learn(node)
    return scope


def skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with inputs in place of large weights: inference needs no more than their types,
    and copies whatever it gets.
    """
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = light.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    for body in graphs(graph):
        for node in body.node:
            if node.op_type == "GroupNormalization" and node.domain in OURS:
                # Inference does not know that its output is like its input.
                node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output))
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) > _LARGE or tensor.data_location == TensorProto.EXTERNAL:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
        else:
            graph.initializer.append(tensor)
    return light


def inferred(model: onnx.ModelProto, where: str) -> onnx.GraphProto:
    """The graph, large weights aside, with the types of its tensors.

    Raises:
        InputError: its shapes contradict each other.
    """
    try:
        return onnx.shape_inference.infer_shapes(skeleton(model), data_prop=True).graph
    except Exception as error:  # InferenceError, and C++ errors of other kinds
        raise InputError(f"{where}: its shapes contradict each other: {line(error)}") from None


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and the bodies of its control flow."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from graphs(body)


def all_names(graph: onnx.GraphProto) -> set[str]:
    """Every name in a graph, those of nodes included."""
    found: set[str] = set()
    for body in graphs(graph):
        found.update(entry.name for entry in (*body.input, *body.initializer, *body.node))
        for node in body.node:
            found.update(node.output)
    return found


def line(error: Exception) -> str:
    """An error's text on one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]
