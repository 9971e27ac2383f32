from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvmkd.base.errors import InputError
from tvmkd.base.onnx_runtime import open_session
from tvmkd.export.head import with_features

RNG = np.random.default_rng(0)
MATRIX, BIAS = RNG.normal(size=(5, 3)).astype(np.float32), np.arange(3, dtype=np.float32)
Node = onnx.NodeProto


def node(kind: str, inputs: str, outputs: str, **more: Any) -> Node:
    return helper.make_node(kind, inputs.split(), outputs.split(), **more)


def model(*last: Node, batch: int | str = 1, shape: tuple[int, ...] = (5,), **more: Any) -> Any:
    """Features ``relu(x)`` and these nodes, which make ``y``."""
    constants = {"w": MATRIX, "wt": MATRIX.T.copy(), "b": BIAS, "half": MATRIX.astype(np.float16)}
    constants |= {"two": np.float32([[2.0]]), **more}
    outputs = [name for each in last for name in each.output if name in ("y", "z")] or ["r"]
    graph = helper.make_graph(
        [node("Relu", "x", "r"), *last],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    for entry in graph.output:
        if entry.name == "y":
            entry.CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3]))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(
    ("last", "bias"),
    [
        ([node("Gemm", "r w b", "y")], 1.0),
        ([node("Gemm", "r wt b", "y", transB=1, alpha=2.0, beta=3.0)], 3.0),
        ([node("Gemm", "r w", "y")], 0.0),
        ([node("MatMul", "r w", "y")], 0.0),
        ([node("MatMul", "r w", "m"), node("Add", "m b", "y")], 1.0),
        ([node("MatMul", "r w", "m"), node("Add", "b m", "i"), node("Identity", "i", "y")], 1.0),
    ],
)
@pytest.mark.parametrize("batch", [1, "batch"])
def test_features_and_head_make_the_logits(last: list[Node], bias: float, batch: int | str) -> None:
    given = model(*last, batch=batch)
    before = given.SerializeToString()
    found = with_features(given, "net")
    assert given.SerializeToString() == before
    onnx.checker.check_model(found.model, full_check=True)
    session = open_session(found.model.SerializeToString(), "net")
    assert [each.name for each in session.get_outputs()] == ["y", "features"]
    x = RNG.normal(size=(1, 5)).astype(np.float32)
    logits, features = session.run(None, {"x": x})
    np.testing.assert_array_equal(features, np.maximum(x, 0))
    np.testing.assert_allclose(features @ found.weights.T + found.bias, logits, rtol=1e-5)
    assert found.bias == pytest.approx(bias * BIAS)


def test_a_name_that_is_taken() -> None:
    found = with_features(
        model(node("Relu", "r", "features"), node("Gemm", "features w b", "y")), ""
    )
    assert [each.name for each in found.model.graph.output] == ["y", "features_"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (model(node("Gemm", "r w b", "l"), node("Softmax", "l", "y")), "net: ends with Softmax"),
        (model(node("Gemm", "r w b", "y"), node("Relu", "r", "z")), r"has 2 outputs \(y, z\)"),
        (model(node("Gemm", "x w b", "y")), "is one l"),
        (model(node("Gemm", "r w b", "y"), batch=4), "its batch is not 1"),
        (model(node("Gemm", "r r b", "y", transB=1)), "weights are not constant"),
        (model(node("DequantizeLinear", "q s", "d"), node("Gemm", "r d b", "y"),
               q=np.ones((5, 3), np.int8), s=np.float32(1)), "its last layer is quantised"),
        (model(node("MatMul", "r w", "m"), node("Mul", "m two", "y")), "ends with Mul"),
        (model(node("Cast", "r", "c", to=TensorProto.FLOAT16), node("MatMul", "c half", "m"),
               node("Identity", "m", "y")), "float16"),
        (model(node("MatMul", "r w", "y"), shape=(4, 5)), "its features are"),
    ],
)  # fmt: skip
def test_networks_that_cannot_learn(given: onnx.ModelProto, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        with_features(given, "net")
    assert "\n" not in str(caught.value)


def test_a_detector() -> None:
    given = model(node("Gemm", "r w b", "y"))
    helper.set_model_props(given, {"tvmkd.detector": "{}"})
    with pytest.raises(InputError, match="net: is a detector"):
        with_features(given, "net")
