"""Small ONNX files for engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def net(
    path: Path,
    batch: int | str = 2,
    activation: str = "Relu",
    scale: float = 1.0,
    height: int | str = 16,
) -> Path:
    """Convolution, ``activation``, mean over the picture, and a product: ``x`` to ``y``."""
    rng = np.random.default_rng(0)
    values = {
        "w": scale * rng.standard_normal((8, 3, 3, 3)),
        "b": np.zeros(8),
        "f": rng.standard_normal((8, 10)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node(activation, ["c"], ["r"], name="act"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["n"], name="flat"),
        helper.make_node("MatMul", ["n", "f"], ["y"], name="head"),
    ]
    weights = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in values.items()]
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", floats, [batch, 3, height, 16])],
        [helper.make_tensor_value_info("y", floats, [batch, 10])],
        weights,
    )
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return path


def pictures(count: int) -> np.ndarray:
    """``count`` inputs of the net."""
    return np.random.default_rng(1).standard_normal((count, 3, 16, 16)).astype(np.float32)
