"""Finds what has no fixed result: operators in training mode, and those that draw numbers."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
from onnx import numpy_helper

from tvmkd.export.graph import graphs, nodes

_RANDOM = {
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
    *("Bernoulli", "Multinomial"),
}
# Of the mode and the ratio of Dropout.
_READ = {
    *(onnx.TensorProto.BOOL, onnx.TensorProto.FLOAT),
    *(onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE),
}


def without_fixed_result(model: onnx.ModelProto) -> str | None:
    """The first node whose result changes from run to run or with the batch, in one line, or None.

    Without a fixed result no compiled model can be compared with the reference.
    """
    constants = _constants(model)
    for node in nodes(model):
        if node.domain not in ("", "ai.onnx"):
            continue
        where = f'{node.op_type} (node "{(node.name or next(iter(node.output), "?"))[:60]}")'
        if node.op_type in _RANDOM:
            return (
                f"{where} draws random numbers, so its result cannot be checked: "
                "make them an input of the model"
            )
        if _trains(node, constants):
            return f"{where} is in training mode: export the network after model.eval()"
    return None


def _trains(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> bool:
    given = {entry.name: entry for entry in node.attribute}
    if node.op_type == "BatchNormalization":
        return "training_mode" in given and given["training_mode"].i != 0
    if node.op_type != "Dropout" or len(node.input) < 3:
        return False
    mode, ratio = constants.get(node.input[2]), constants.get(node.input[1])
    drops = not node.input[1] or ratio is None or bool(np.any(ratio > 0))
    return mode is not None and bool(np.any(mode)) and drops


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Constants of one element, by name."""
    found = {}
    for graph in graphs(model):
        tensors = [(tensor.name, tensor) for tensor in graph.initializer]
        tensors += [
            (node.output[0], node.attribute[0].t)
            for node in graph.node
            if node.op_type == "Constant" and node.attribute[0].HasField("t")
        ]
        for name, tensor in tensors:
            outside = tensor.data_location == onnx.TensorProto.EXTERNAL
            if not outside and tensor.data_type in _READ and int(np.prod(tensor.dims)) == 1:
                with contextlib.suppress(ValueError):  # damaged: other checks say where
                    found[name] = numpy_helper.to_array(tensor)
    return found
