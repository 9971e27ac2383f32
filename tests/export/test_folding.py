"""Which nodes are folded into constants, and which must stay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvmkd.export import folding
from tvmkd.export.folding import fold, foldable


def model(
    nodes: Sequence[onnx.NodeProto],
    *constants: tuple[str, np.ndarray],
    dtype: int = TensorProto.FLOAT,
    shape: Sequence[int] = (2, 6),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", dtype, None)],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(made, {"classes": "a,b"})
    return made


def kinds(entry: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in entry.graph.node]


HALVED = [
    helper.make_node("Shape", ["x"], ["s"]),
    helper.make_node("Gather", ["s", "one"], ["n"]),
    helper.make_node("Div", ["n", "two"], ["h"]),
    helper.make_node("Slice", ["x", "zero", "h", "axis"], ["y"]),
]
NUMBERS = [
    (name, np.array([value], np.int64))
    for name, value in {"one": 1, "two": 2, "zero": 0, "axis": 1}.items()
]


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_sizes_that_follow_from_the_inputs_become_constants(dtype: int) -> None:
    entry = model(HALVED, *NUMBERS, dtype=dtype)
    assert foldable(entry)
    folded = fold(entry)
    assert kinds(folded) == ["Slice"]
    assert kinds(entry) == ["Shape", "Gather", "Div", "Slice"]
    assert folded.graph.input[0].name == "x"
    assert folded.graph.output[0].name == "y"
    assert {entry.key: entry.value for entry in folded.metadata_props} == {"classes": "a,b"}
    assert [(entry.domain, entry.version) for entry in folded.opset_import] == [("", 17)]
    x = np.arange(12, dtype=helper.tensor_dtype_to_np_dtype(dtype)).reshape(2, 6)
    session = onnxruntime.InferenceSession(folded.SerializeToString())
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], x[:, :3])


def test_a_result_of_onnxscript_that_is_no_model_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = """<ir_version: 9, opset_import: ["" : 17]>
        g (float[2, 3] x) => (float[2, 3] y) { a = Relu(x) s = Identity(a) y = Neg(s) }"""
    model = onnx.parser.parse_model(text)
    broken = onnx.parser.parse_model(text)
    broken.graph.node.insert(0, broken.graph.node.pop())
    monkeypatch.setattr(folding, "foldable", lambda model: True)
    monkeypatch.setattr(folding, "_by_onnxscript", lambda model: broken)
    result = fold(model)
    assert result is not broken
    onnx.checker.check_model(result)
    monkeypatch.setattr(folding, "_by_onnxscript", lambda given: model)
    assert fold(model) is model


def test_half_precision_stays_half_precision() -> None:
    weight = np.ones((6, 3), np.float16)
    nodes = [
        helper.make_node("Identity", ["x"], ["i"]),
        helper.make_node("MatMul", ["i", "w"], ["y"]),
    ]
    folded = fold(model(nodes, ("w", weight), dtype=TensorProto.FLOAT16))
    assert kinds(folded) == ["MatMul"]


def test_a_plain_network_has_nothing_to_fold() -> None:
    weight = np.ones((6, 3), np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    assert not foldable(model(nodes, ("w", weight)))


def test_quantised_weights_stay_quantised() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    constants = [("q", np.ones((6, 3), np.int8)), ("scale", np.array(0.5, np.float32))]
    assert not foldable(model(nodes, *constants))


def test_an_initializer_that_is_an_input_too_is_no_constant() -> None:
    entry = model([helper.make_node("Relu", ["w"], ["y"])], ("w", np.ones(3, np.float32)))
    assert foldable(entry)
    entry.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3]))
    assert not foldable(entry)


def elsewhere(tensor: onnx.TensorProto) -> None:
    """Says that a tensor is in a file that does not exist: nobody reads it."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="no.bin")


def test_external_weights_stay_outside_and_keep_what_reads_them() -> None:
    large = np.zeros((6, 4), np.float32)
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"]),
        helper.make_node("MatMul", ["x", "v"], ["m"]),
        helper.make_node("MatMul", ["m", "t"], ["z"]),
        helper.make_node("Shape", ["z"], ["s"]),
        helper.make_node("Reshape", ["z", "s"], ["y"]),
    ]
    entry = model(nodes, ("w", large), ("v", large), ("unread", large))
    for tensor in entry.graph.initializer:
        elsewhere(tensor)
    folded = fold(entry)
    assert sorted(kinds(folded)) == ["MatMul", "MatMul", "Reshape", "Transpose"]
    assert [given.name for given in folded.graph.input] == ["x"]
    outside = {tensor.name: tensor for tensor in folded.graph.initializer if tensor.external_data}
    assert outside == {each.name: each for each in entry.graph.initializer if each.name != "unread"}


def test_external_weights_in_a_branch_are_left_alone() -> None:
    body = model([helper.make_node("Identity", ["k"], ["y"])], ("k", np.zeros(9, np.float32))).graph
    del body.input[:]
    elsewhere(body.initializer[0])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    with pytest.raises(ValueError, match="body of a branch or loop has external weights"):
        fold(model([branch], ("c", np.array(True))))
