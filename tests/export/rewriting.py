"""Models as text, legalised, and compared with themselves in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from tvmkd.base.errors import InputError
from tvmkd.export import graph
from tvmkd.export.legalise import legalise
from tvmkd.export.site import Scope, Site

TYPES = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.INT64: np.int64,
    TensorProto.BOOL: np.bool_,
}


def text(body: str, opset: int = 18, ir: int = 10) -> onnx.ModelProto:
    """``(float[2, 3] x) => (float y) { y = Relu(x) }`` as a model, ``y`` of any shape."""
    model = parser.parse_model(f'<ir_version: {ir}, opset_import: ["" : {opset}]> net {body}')
    for each in graph.graphs(model):
        for entry in each.output:
            if not entry.type.tensor_type.shape.dim:
                entry.type.tensor_type.ClearField("shape")
    return model


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def inputs(model: onnx.ModelProto, positive: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    feeds = {}
    for entry in model.graph.input:
        kind = entry.type.tensor_type
        values = rng.standard_normal([dim.dim_value for dim in kind.shape.dim]) * 2
        if positive:
            values = np.abs(values) + 0.1
        feeds[entry.name] = np.asarray(values).astype(TYPES[kind.elem_type])
    return feeds


def close(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray], tolerance: float) -> None:
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def legal(model: onnx.ModelProto, **arguments) -> onnx.ModelProto:
    """``legalise``, and what holds for each of its results."""
    before = model.SerializeToString()
    result = legalise(model, **arguments)
    assert model.SerializeToString() == before
    onnx.checker.check_model(result, full_check=True)
    assert result.ir_version <= 9
    assert 13 <= result.opset_import[0].version <= 17
    assert [entry.name for entry in result.graph.output] == [e.name for e in model.graph.output]
    return result


def same(
    model: onnx.ModelProto, positive: bool = False, tolerance: float = 1e-6, **arguments
) -> onnx.ModelProto:
    """A legalised model that gives the same outputs."""
    result = legal(model, **arguments)
    feeds = inputs(model, positive)
    weights = {tensor.name for tensor in model.graph.initializer}
    feeds = {name: value for name, value in feeds.items() if name not in weights}
    close(run(result, feeds), run(model, feeds), tolerance)
    return result


def refused(model: onnx.ModelProto, *fragments: str, **arguments) -> None:
    before = model.SerializeToString()
    with pytest.raises(InputError) as caught:
        legalise(model, "a.onnx", **arguments)
    message = str(caught.value)
    assert message.startswith("a.onnx: ")
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message
    assert model.SerializeToString() == before


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in graph.nodes(model) if node.op_type != "Constant"]


def attributes(model: onnx.ModelProto, kind: str) -> dict[str, object]:
    (node,) = (node for node in model.graph.node if node.op_type == kind)
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def constant(model: onnx.ModelProto, kind: str, index: int) -> np.ndarray:
    """What the only node of a kind gets as one of its inputs."""
    (node,) = (node for node in model.graph.node if node.op_type == kind)
    values = {
        entry.output[0]: entry.attribute[0].t
        for entry in model.graph.node
        if entry.op_type == "Constant"
    }
    values |= {tensor.name: tensor for tensor in model.graph.initializer}
    return numpy_helper.to_array(values[node.input[index]])


def site(
    node: onnx.NodeProto,
    shape: list[int | None] | None = None,
    source: int = 18,
    **constants: np.ndarray,
) -> Site:
    """The site of a node whose first input is a float tensor, of an unknown shape by default."""
    types = {node.input[0]: helper.make_tensor_type_proto(TensorProto.FLOAT, shape)}
    values = {name: numpy_helper.from_array(array, name) for name, array in constants.items()}
    return Site(node, Scope(types, values, {"y", "y_Mul"}, source, 17, {}))
