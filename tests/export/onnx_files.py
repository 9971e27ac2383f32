"""Small ONNX files, good and bad."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def weights(shape: Sequence[int] = (4, 3, 3, 3)) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(tuple(shape)).astype(np.float32)


def convolution(
    values: np.ndarray | None = None,
    batch: int | str | None = 1,
    activation: str = "Relu",
    domain: str = "",
) -> onnx.ModelProto:
    """``[batch, 3, 8, 8]`` through a convolution and one more node, called ``last``."""
    kernel = numpy_helper.from_array(weights() if values is None else values, "kernel")
    imports = [helper.make_opsetid("", 18)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "kernel"], ["mid"], name="first"),
            helper.make_node(activation, ["mid"], ["out"], name="last", domain=domain),
        ],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, 4, 6, 6])],
        [kernel],
    )
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    helper.set_model_props(model, {"teacher": "residual"})
    return model


def save(model: onnx.ModelProto, path: Path, *, external: bool = False) -> Path:
    onnx.save(
        model,
        path,
        save_as_external_data=external,
        location=f"{path.name}.data" if external else None,
        size_threshold=0,
    )
    return path
