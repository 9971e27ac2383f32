"""ONNX files whose weights do not matter, kept with little of them until they are needed again.

A search keeps a file for each kernel of its space, and whole networks would fill a disk.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import onnx

KEPT = 64
"""Values of each weight that are kept; the others repeat them."""


def thin(path: Path) -> None:
    """Leaves `KEPT` values of each float32 weight in a file, which nobody else can read then."""
    model = onnx.load(os.fspath(path))
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and math.prod(tensor.dims) > KEPT:
            values = onnx.numpy_helper.to_array(tensor).reshape(-1)[:KEPT]
            tensor.ClearField("float_data")
            tensor.raw_data = values.tobytes()
    onnx.save(model, os.fspath(path))


def whole(path: Path, to: Path) -> Path:
    """Writes a network with weights of the right shapes from a file that `thin` has made smaller.

    Their signs and sizes are those of the original weights, so that a variance stays one.

    Returns:
        ``to``.
    """
    model = onnx.load(os.fspath(path))
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and math.prod(tensor.dims) > KEPT:
            values = np.frombuffer(tensor.raw_data, np.float32)
            tensor.raw_data = np.resize(values, math.prod(tensor.dims)).tobytes()
    onnx.save(model, os.fspath(to))
    return to
