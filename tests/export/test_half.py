from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import convolution, save, weights

from tvmkd.base.errors import InputError
from tvmkd.export import check
from tvmkd.export.half import half


def test_weights_are_halved_and_ends_stay(tmp_path):
    source = save(convolution(), tmp_path / "m.onnx")
    error = half(source, tmp_path / "half.onnx")
    assert 0 < error < 5e-3
    info = check(tmp_path / "half.onnx")
    assert {tensor.dtype for tensor in (*info.inputs, *info.outputs)} == {"float32"}
    found = onnx.load(tmp_path / "half.onnx")
    assert [entry.data_type for entry in found.graph.initializer] == [TensorProto.FLOAT16]
    assert {entry.key: entry.value for entry in found.metadata_props}["teacher"] == "residual"


def test_a_layer_that_is_kept_stays_single(tmp_path):
    source = save(convolution(), tmp_path / "m.onnx")
    # The activation alone, on what a convolution in FP32 gave, loses less than both.
    kept = half(source, tmp_path / "kept.onnx", ["first"])
    assert kept < half(source, tmp_path / "half.onnx")
    found = onnx.load(tmp_path / "kept.onnx")
    assert [entry.data_type for entry in found.graph.initializer] == [TensorProto.FLOAT]


def test_what_overflows_is_refused_and_nothing_is_left(tmp_path):
    source = save(convolution(weights() * 1e5), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="in FP16 it differs by inf of the output's range"):
        half(source, tmp_path / "half.onnx")
    assert list(tmp_path.iterdir()) == [source]


def test_given_pictures_are_compared_on(tmp_path):
    source = save(convolution(batch="batch"), tmp_path / "m.onnx")
    flat = np.zeros((2, 3, 8, 8), np.float32)
    assert half(source, tmp_path / "half.onnx", pictures=flat) == 0.0
    assert numpy_helper.to_array(onnx.load(source).graph.initializer[0]).dtype == np.float32


def test_several_inputs_are_compared_on_noise(tmp_path):
    entry = helper.make_tensor_value_info
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["m"], name="product"),
        helper.make_node("Gather", ["m", "i"], ["y"], name="rows"),
    ]
    inputs = [
        entry("a", TensorProto.FLOAT, [4, 8]),
        entry("b", TensorProto.FLOAT, [8, 2]),
        entry("i", TensorProto.INT64, [3]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, [entry("y", TensorProto.FLOAT, [3, 2])])
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "m.onnx")
    assert 0 < half(tmp_path / "m.onnx", tmp_path / "half.onnx") < 5e-3
