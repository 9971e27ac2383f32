"""The precision that an ONNX file computes in."""

from __future__ import annotations

from typing import Literal

import onnx

Precision = Literal["float32", "float16", "qdq"]


def precision_of(model: onnx.ModelProto) -> Precision:
    """``qdq`` with a QuantizeLinear, ``float16`` with half-precision weights, else ``float32``.

    Inputs and outputs do not tell: they often stay float32 in a file that computes otherwise.
    """
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return "qdq"
    halves = (weight.data_type == onnx.TensorProto.FLOAT16 for weight in model.graph.initializer)
    return "float16" if any(halves) else "float32"
