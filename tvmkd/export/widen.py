"""Makes a model that computes in float64, to see how exact its own precision is."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from tvmkd.base.errors import InputError
from tvmkd.export.graph import graphs

NARROW = (TensorProto.FLOAT, TensorProto.FLOAT16)
LARGEST = 1 << 26
"""Bytes of weights: twice as many are made of them."""


def widen(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with float64 in place of float32 and float16, inputs and outputs too.

    ONNX Runtime has no float64 form of some operators (Conv, Resize); it then refuses the result.

    Raises:
        InputError: its weights are large, or in other files.
    """
    if model.ByteSize() > LARGEST:
        raise InputError("the weights are too large for a copy in float64")
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for graph in graphs(result):
        del graph.value_info[:]
        for entry in (*graph.input, *graph.output):
            if entry.type.tensor_type.elem_type in NARROW:
                entry.type.tensor_type.elem_type = TensorProto.DOUBLE
        for tensor in graph.initializer:
            _widen(tensor)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    _widen(attribute.t)
                elif node.op_type == "Cast" and attribute.name == "to" and attribute.i in NARROW:
                    attribute.i = TensorProto.DOUBLE
    return result


def _widen(tensor: onnx.TensorProto) -> None:
    if tensor.data_location == TensorProto.EXTERNAL:
        raise InputError("the weights are in other files")
    if tensor.data_type in NARROW:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
