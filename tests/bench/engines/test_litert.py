from __future__ import annotations

import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peers import prepared

from tvmkd.base.errors import InputError, MissingError
from tvmkd.bench.engines import litert
from tvmkd.bench.engines.litert import LiteRtEngine, as_onnx, as_stored, in_order

INSTALLED = pytest.mark.skipif(
    LiteRtEngine.lacks_package("litert") is not None, reason="needs ai-edge-litert"
)


def _onnx(path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """max(a, b) for an image with 3 channels and another one."""
    from onnx import TensorProto, helper, save

    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 5]) for name in "aby"
    ]
    graph = helper.make_graph(
        [helper.make_node("Max", ["a", "b"], ["y"])], "m", values[:2], values[2:]
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    dice = np.random.default_rng(0)
    return path, {name: dice.standard_normal((1, 3, 4, 5)).astype(np.float32) for name in "ab"}


def _tflite(path: Path) -> Path:
    """The same with channels last, as onnx2tf converts it; its inputs in another order."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, [1, 4, 5, 3], 0, 0
        return made

    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = schema.BuiltinOperator.MAXIMUM
    code.deprecatedBuiltinCode = schema.BuiltinOperator.MAXIMUM
    operator.inputs, operator.outputs = [1, 0], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.MaximumMinimumOptions
    operator.builtinOptions = schema.MaximumMinimumOptionsT()
    part = schema.SubGraphT()
    part.tensors = [tensor("serving_default_b:0"), tensor("serving_default_a:0"), tensor("y")]
    part.inputs, part.outputs, part.operators = [0, 1], [2], [operator]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [part]
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


@INSTALLED
def test_a_file_beside_the_onnx_file_runs_with_its_channels_last(tmp_path: Path) -> None:
    path, inputs = _onnx(tmp_path / "m.onnx")
    beside = _tflite(tmp_path / "m.tflite")
    engine = prepared("litert", path, inputs)
    (output,) = engine.infer(inputs)
    np.testing.assert_array_equal(output, np.maximum(inputs["a"], inputs["b"]))
    assert engine.bind(inputs)()[0].shape == (1, 4, 5, 3)
    assert engine.facts()["num_threads"] == 1
    assert engine.size_bytes() == beside.stat().st_size


@INSTALLED
def test_without_such_a_file_the_converter_is_called_and_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, inputs = _onnx(tmp_path / "m.onnx")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert LiteRtEngine.lacks("litert") == f"litert needs onnx2tf: {litert.HOW}"
    with pytest.raises(MissingError, match="litert needs onnx2tf: pipx install onnx2tf, or put"):
        prepared("litert", path, inputs)
    made = _tflite(tmp_path / "made")
    tool = tmp_path / "onnx2tf"
    tool.write_text(
        f'#!/bin/sh\nmkdir out\n[ "$2" = "{path}" ] && cp {made} out/m_float32.tflite\n'
    )
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(shutil, "which", lambda name: str(tool))
    assert LiteRtEngine.lacks("litert") is None
    (output,) = prepared("litert", path, inputs).infer(inputs)
    np.testing.assert_array_equal(output, np.maximum(inputs["a"], inputs["b"]))


@INSTALLED
def test_a_file_that_does_not_fit_is_named(tmp_path: Path) -> None:
    path, inputs = _onnx(tmp_path / "m.onnx")
    beside = _tflite(tmp_path / "m.tflite")
    with pytest.raises(InputError, match=r"m\.tflite: has 2 inputs, the ONNX file 1"):
        prepared("litert", path, {"a": inputs["a"]})
    beside.write_bytes(b"no model")
    with pytest.raises(InputError, match=r"m\.tflite: LiteRT cannot load it: "):
        prepared("litert", path, inputs)


def test_tensors_are_found_by_the_names_that_were_kept() -> None:
    details = [{"name": "serving_default_b:0"}, {"name": "a"}]
    assert in_order(details, ["a", "b"]) == details[::-1]
    other = [{"name": "Identity_1"}, {"name": "Identity"}]
    assert in_order(other, ["a", "b"]) == other


def test_only_images_with_other_shapes_are_moved() -> None:
    image = np.zeros((1, 3, 4, 5))
    assert as_stored(image, [1, 4, 5, 3]).shape == (1, 4, 5, 3)
    assert as_stored(image, [1, 3, 4, 5]) is image
    assert as_stored(np.zeros((2, 3)), [3, 2]).shape == (2, 3)
    assert as_onnx(np.zeros((1, 4, 5, 3)), (1, 3, 4, 5)).shape == (1, 3, 4, 5)
    assert as_onnx(image, (1, 3, 4, 5)) is image
    assert as_onnx(image, None) is image
