from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from onnx_files import convolution, save

from tvmkd.base.errors import InputError
from tvmkd.base.files import sha256
from tvmkd.export import check
from tvmkd.export.check import input_shapes


def refused(path: Path, message: str, *args) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check(path, *args)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_good_file(tmp_path):
    path = save(convolution(), tmp_path / "m.onnx")
    info = check(path)
    assert [(t.name, t.shape, t.dtype) for t in info.inputs] == [("image", (1, 3, 8, 8), "float32")]
    assert [(t.name, t.shape, t.dtype) for t in info.outputs] == [("out", (1, 4, 6, 6), "float32")]
    assert info.opset == 18
    assert info.operators == {"Conv": 1, "Relu": 1}
    assert info.metadata == {"teacher": "residual"}
    assert info.sha256 == sha256(path)
    assert json.loads(json.dumps(info.to_dict()))["path"] == str(path)


def test_missing_and_folder(tmp_path):
    refused(tmp_path / "no.onnx", "there is no such file")
    refused(tmp_path, "is a folder")


@pytest.mark.parametrize(
    "content", [b"", b"hello, this is text\n", b"\x89PNG\r\n\x1a\n" + b"x" * 99]
)
def test_not_onnx(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    refused(path, "not an ONNX file|an empty file")


def test_cut_anywhere_is_refused(tmp_path):
    """A file truncated between two protobuf fields can be parsed; it must be refused too."""
    content = convolution().SerializeToString()
    path = tmp_path / "m.onnx"
    for keep in range(1, len(content), 7):
        path.write_bytes(content[:keep])
        with pytest.raises(InputError) as caught:
            check(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(content[: len(content) // 2])
    refused(path, "cut short or damaged")


@pytest.mark.parametrize("broken", ["in\nput", "input\r", "\x85", "a\u2028b"])
def test_a_name_with_a_line_break_is_refused_in_one_line(tmp_path, broken):
    entry = helper.make_tensor_value_info
    for names in (("x", broken, 4), (broken, "y", 4), ("x", "y", broken)):
        node = helper.make_node("Relu", names[:1], names[1:2])
        graph = helper.make_graph(
            [node], "g", [entry(names[0], 1, [names[2]])], [entry(names[1], 1, None)]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        refused(save(model, tmp_path / "m.onnx"), "has a line break")


def test_a_file_may_do_without_operators_of_ai_onnx_but_not_without_any_operator_set(tmp_path):
    entry = helper.make_tensor_value_info
    node = helper.make_node("Binarizer", ["x"], ["y"], domain="ai.onnx.ml", threshold=0.5)
    graph = helper.make_graph([node], "g", [entry("x", 1, [2])], [entry("y", 1, [2])])
    opsets = [helper.make_opsetid("ai.onnx.ml", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    info = check(save(model, tmp_path / "m.onnx"))
    assert info.operators == {"ai.onnx.ml::Binarizer": 1}
    assert info.outputs[0].shape == (2,)
    del model.opset_import[:]
    refused(save(model, tmp_path / "m.onnx"), "has no version of the operator set ai.onnx")


def test_unsupported_operators_are_named_with_their_nodes(tmp_path):
    custom = save(convolution(activation="Swirl", domain="com.example"), tmp_path / "a.onnx")
    refused(custom, r"unsupported operator com\.example::Swirl \(nodes: last\)")
    unknown = save(convolution(activation="Relux"), tmp_path / "b.onnx")
    refused(unknown, r"unsupported operator Relux \(nodes: last\)")
    known = save(convolution(), tmp_path / "c.onnx")
    refused(known, r"unsupported operator Relu \(nodes: last\)", None, {"Conv"})
    assert check(known, None, {"Conv", "Relu"}).operators
    assert check(custom, None, {"Conv", "com.example::Swirl"}).operators == {
        "Conv": 1,
        "com.example::Swirl": 1,
    }


def test_a_free_batch_is_one_unless_a_size_is_given(tmp_path):
    named = save(convolution(batch="batch"), tmp_path / "a.onnx")
    info = check(named)
    assert info.inputs[0].shape == (1, 3, 8, 8)
    assert info.assumed == {"batch": 1}
    assert info.assumptions == ["batch is free: batch=1 is used (--dim batch=N for another)"]
    info = check(named, {"batch": 5})
    assert info.inputs[0].shape == (5, 3, 8, 8)
    assert info.outputs[0].shape == (5, 4, 6, 6)
    assert not info.assumed
    assert check(named, {"image.0": 2}).inputs[0].shape == (2, 3, 8, 8)
    nameless = save(convolution(batch=None), tmp_path / "b.onnx")
    assert check(nameless).assumed == {"image.0": 1}
    assert check(nameless, {"image.0": 3}).outputs[0].shape == (3, 4, 6, 6)


def test_other_free_dimensions_need_a_size(tmp_path):
    model = convolution()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    model.graph.output[0].type.tensor_type.ClearField("shape")
    path = save(model, tmp_path / "a.onnx")
    refused(path, r'"height" \(axis 2 of input "image"\).*--dim height=1')
    assert check(path, {"height": 9}).outputs[0].shape == (1, 4, 7, 6)


def test_an_opset_from_the_future(tmp_path):
    model = convolution()
    model.opset_import[0].version = 99
    refused(save(model, tmp_path / "a.onnx"), "is in opset 99, and this onnx .* or older")


def test_wrong_sizes(tmp_path):
    path = save(convolution(batch="batch"), tmp_path / "a.onnx")
    refused(path, "it is at least 1", {"batch": 0})
    refused(path, 'no free dimension "bach"; did you mean "batch"', {"bach": 1, "batch": 1})
    fixed = save(convolution(), tmp_path / "b.onnx")
    refused(fixed, 'no free dimension "batch"; it has none', {"batch": 1})


def test_an_invalid_graph(tmp_path):
    model = convolution()
    model.graph.node[1].input[0] = "nowhere"
    refused(save(model, tmp_path / "a.onnx"), "not a valid ONNX model.*nowhere")
    model = convolution()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7
    refused(save(model, tmp_path / "b.onnx"), "shapes contradict")


def test_external_data(tmp_path):
    path = save(convolution(), tmp_path / "m.onnx", external=True)
    data = tmp_path / "m.onnx.data"
    info = check(path)
    assert info.external == (data,)
    assert info.inputs[0].shape == (1, 3, 8, 8)
    whole = data.read_bytes()
    data.write_bytes(whole[:-1] + b"\x01")
    assert check(path).sha256 != info.sha256
    data.write_bytes(whole[:50])
    refused_data = pytest.raises(InputError, match=r"m\.onnx\.data: cut short: 50 bytes")
    with refused_data:
        check(path)
    data.unlink()
    refused(path, r"m\.onnx\.data, which is missing")


def test_no_input_shape(tmp_path):
    model = convolution()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    refused(save(model, tmp_path / "a.onnx"), 'input "image" has no shape')


def test_a_sequence_as_output_and_text_are_refused(tmp_path):
    model = convolution()
    model.graph.output.append(
        helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None)
    )
    model.graph.node.append(helper.make_node("SequenceConstruct", ["out"], ["list"]))
    refused(save(model, tmp_path / "a.onnx"), 'output "list" is a sequence, not a tensor')
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.STRING, [2])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, [2])],
    )
    text = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    refused(save(text, tmp_path / "b.onnx"), 'input "x" has elements of type string')


def test_an_output_without_a_shape_gets_one(tmp_path):
    model = convolution()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert check(save(model, tmp_path / "a.onnx")).outputs[0].shape == (1, 4, 6, 6)


def test_input_shapes_are_found_without_any_other_check(tmp_path):
    path = save(
        convolution(batch="n", activation="Swirl", domain="com.example"), tmp_path / "a.onnx"
    )
    assert input_shapes(path, {"n": 2}) == {"image": (2, 3, 8, 8)}


def test_a_sequence_as_input(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("SequenceAt", ["list", "at"], ["out"])],
        "net",
        [helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2])],
        [helper.make_tensor("at", TensorProto.INT64, [], [0])],
    )
    model = helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10
    )
    refused(save(model, tmp_path / "a.onnx"), 'input "list" is a sequence, not a tensor')
