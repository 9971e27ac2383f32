"""Finds a classifier's last layer in an ONNX model, and adds that layer's input to the outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tvmkd.base.detector_description import KEY
from tvmkd.base.errors import InputError
from tvmkd.export.subgraph import ancestors
from tvmkd.export.walk import all_names, inferred

FEATURES = "features"
"""The name of the added output."""
_QUANTISED = ("DequantizeLinear", "QuantizeLinear")
_HINT = "a head can learn where logits = features x weights + bias (Gemm, or MatMul and Add)"


@dataclass(frozen=True)
class LinearHead:
    """A model with its features as the second output, and its last layer.

    Attributes:
        model: outputs the logits, then the features float32 ``[1, features]``.
        weights: float32 ``[classes, features]``.
        bias: float32 ``[classes]``.
    """

    model: onnx.ModelProto
    weights: np.ndarray
    bias: np.ndarray


def with_features(model: onnx.ModelProto, where: str) -> LinearHead:
    """Cuts a classifier before its last layer.

    Args:
        model: with its weights; it is not changed. A free batch becomes 1.
        where: names the model in errors.

    Raises:
        InputError: it is a detector, has several outputs, a last layer that is quantised or is not
            linear, or a batch other than 1.
    """
    if KEY in {entry.key for entry in model.metadata_props}:
        raise InputError(f"{where}: is a detector; only classifiers learn on a board")
    if len(model.graph.output) != 1:
        names = ", ".join(entry.name for entry in model.graph.output)
        raise InputError(f"{where}: has {len(model.graph.output)} outputs ({names}); {_HINT}")
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    _fix_batch(graph, where)
    tensor, weights, bias = _last_layer(graph, where)
    if tensor in {entry.name for entry in graph.input}:
        raise InputError(f"{where}: is one linear layer; there are no features to learn from")
    types = {entry.name: entry.type.tensor_type for entry in inferred(made, where).value_info}
    found = types.get(tensor)
    shape = [] if found is None else [each.dim_value for each in found.shape.dim]
    wanted = [1, weights.shape[1]]
    if found is None or found.elem_type != TensorProto.FLOAT or shape != wanted:
        raise InputError(f"{where}: its features are {shape}, not float32 {wanted}; {_HINT}")
    name = FEATURES
    while name in all_names(graph):
        name += "_"
    graph.node.append(helper.make_node("Identity", [tensor], [name]))
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, wanted))
    return LinearHead(made, weights, bias)


def _fix_batch(graph: onnx.GraphProto, where: str) -> None:
    weights = {entry.name for entry in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in weights]
    if len(inputs) != 1:
        raise InputError(f"{where}: has {len(inputs)} inputs; a classifier of one image learns")
    for entry in (*inputs, *graph.output):
        sizes = entry.type.tensor_type.shape.dim
        if sizes and not sizes[0].HasField("dim_value"):
            sizes[0].dim_value = 1
        if not sizes or sizes[0].dim_value != 1:
            raise InputError(f"{where}: {entry.name}: its batch is not 1; export it with batch 1")
    del graph.value_info[:]


def _last_layer(graph: onnx.GraphProto, where: str) -> tuple[str, np.ndarray, np.ndarray]:
    """The tensor that the last layer reads, its weights and its bias."""
    makers = {name: node for node in graph.node for name in node.output}
    constants = {entry.name: entry for entry in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    node = makers.get(graph.output[0].name)
    while node is not None and node.op_type == "Identity":
        node = makers.get(node.input[0])
    if node is None or len(ancestors(graph, set(node.output))) < 2:
        raise InputError(f"{where}: is one layer; there are no features to learn from")
    bias: np.ndarray | None = None
    if node.op_type == "Add":
        pair = [(each, other) for each, other in zip(node.input, node.input[::-1], strict=True)
                if each in constants and other in makers]  # fmt: skip
        if pair and makers[pair[0][1]].op_type == "MatMul":
            bias, node = numpy_helper.to_array(constants[pair[0][0]]), makers[pair[0][1]]
    if node.op_type not in ("Gemm", "MatMul"):
        raise InputError(f"{where}: ends with {node.op_type}; {_HINT}")
    if node.input[1] not in constants:
        above = makers.get(node.input[1])
        if above is not None and above.op_type in _QUANTISED:
            raise InputError(
                f"{where}: its last layer is quantised; leave that one in float32 when you quantise"
            )
        raise InputError(f"{where}: the last layer's weights are not constant; {_HINT}")
    matrix = numpy_helper.to_array(constants[node.input[1]])
    given: Mapping[str, float] = {each.name: helper.get_attribute_value(each)
                                  for each in node.attribute}  # fmt: skip
    if node.op_type == "Gemm":
        if given.get("transA") or (len(node.input) > 2 and node.input[2] not in constants):
            raise InputError(f"{where}: the last Gemm is no plain linear layer; {_HINT}")
        matrix = (matrix if given.get("transB") else matrix.T) * given.get("alpha", 1.0)
        if len(node.input) > 2:
            bias = numpy_helper.to_array(constants[node.input[2]]) * given.get("beta", 1.0)
    else:
        matrix = matrix.T
    if matrix.ndim != 2 or matrix.dtype != np.float32 or len(matrix) < 2:
        raise InputError(
            f"{where}: the last layer's weights are {matrix.dtype} {list(matrix.shape)}, not a "
            "float32 matrix of at least two classes"
        )
    flat = np.zeros(1, np.float32) if bias is None else bias.astype(np.float32).reshape(-1)
    if flat.size not in (1, len(matrix)):
        raise InputError(f"{where}: the last layer's bias has {flat.size} values; {_HINT}")
    return node.input[0], np.ascontiguousarray(matrix), np.resize(flat, len(matrix))
