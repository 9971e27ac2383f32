"""What a file computes in, whatever its inputs and outputs are."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvmkd.export.precision import precision_of


@pytest.mark.parametrize(
    ("nodes", "dtype", "wanted"),
    [
        ([("MatMul", ["x", "w"])], np.float32, "float32"),
        ([("MatMul", ["x", "w"])], np.float16, "float16"),
        ([("QuantizeLinear", ["x", "w"])], np.float32, "qdq"),
        ([("MatMul", ["x", "w"]), ("QuantizeLinear", ["x", "w"])], np.float16, "qdq"),
    ],
)
def test_precisions(nodes: list[tuple[str, list[str]]], dtype: type, wanted: str) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [f"y{at}"]) for at, (kind, inputs) in enumerate(nodes)],
        "g",
        [value],
        [helper.make_tensor_value_info("y0", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.zeros(1, dtype), "w")],
    )
    assert precision_of(helper.make_model(graph)) == wanted
