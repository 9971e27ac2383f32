from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from build_fakes import FLAGGED, GENERATIONS, Generation
from onnx import TensorProto, numpy_helper
from small_nets import net, pictures

from tvmkd.base.errors import InputError
from tvmkd.tensorrt import precision
from tvmkd.tensorrt.options import BuildOptions

CALIBRATION = {"x": pictures(6)}


def prepared(
    tmp_path: Path, name: str, source: Path | None = None, **options: Any
) -> tuple[Path, Path]:
    source = source or net(tmp_path / "m.onnx", 1)
    bindings = Generation(name).bindings
    made = precision.prepare(source, onnx.load(source), BuildOptions(**options), bindings, tmp_path)
    return source, made


def flags(name: str, wanted: str) -> tuple[set[str], list[str]]:
    bindings = Generation(name).bindings
    builder = bindings.module.Builder(bindings.log.handle)
    config = builder.create_builder_config()
    options = BuildOptions(precision=wanted)  # type: ignore[arg-type]
    notes = precision.set_flags(config, builder, options, bindings)
    return config._flags, notes


@pytest.mark.parametrize("name", GENERATIONS)
def test_flags_are_set_if_the_builder_has_them(name: str) -> None:
    own = (lambda flag: {flag}) if name in FLAGGED else (lambda _flag: set())
    assert flags(name, "fp32") == (set(), [])
    assert flags(name, "tf32") == ({"TF32"}, [])
    assert flags(name, "fp16") == ({"TF32"} | own("FP16"), [])
    slow = ["this GPU is not faster in int8"] if name in FLAGGED else []
    assert flags(name, "int8") == ({"TF32"} | own("INT8"), slow)


@pytest.mark.parametrize("name", GENERATIONS)
def test_fp16_is_written_into_the_file_only_without_a_flag(name: str, tmp_path: Path) -> None:
    source, made = prepared(tmp_path, name, precision="fp16")
    if name in FLAGGED:
        assert made == source
        return
    assert precision.stored(onnx.load(made)) == "fp16"
    model = onnx.load(made)
    assert {entry.data_type for entry in model.graph.initializer} == {TensorProto.FLOAT16}
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT


@pytest.mark.parametrize("name", GENERATIONS)
def test_int8_is_written_into_the_file_only_without_a_calibrator(name: str, tmp_path: Path) -> None:
    source, made = prepared(tmp_path, name, precision="int8", calibration=CALIBRATION)
    if name in FLAGGED:
        assert made == source
        return
    model = onnx.load(made)
    assert precision.stored(model) == "int8"
    values = {e.name: numpy_helper.to_array(e) for e in model.graph.initializer}
    points = [
        values[node.input[2]] for node in model.graph.node if node.op_type.endswith("eLinear")
    ]
    # The form for TensorRT: int8 with zero point 0, and no bias in int32.
    assert {point.dtype for point in points} == {np.dtype(np.int8)}
    assert not any(np.any(point) for point in points)


def test_layers_that_are_kept_stay_in_fp32(tmp_path: Path) -> None:
    _, made = prepared(tmp_path, "11", precision="fp16", keep_fp32=("conv",))
    kept = {e.name: e.data_type for e in onnx.load(made).graph.initializer}
    assert (kept["w"], kept["f"]) == (TensorProto.FLOAT, TensorProto.FLOAT16)


def test_a_file_with_the_precision_is_not_converted(tmp_path: Path) -> None:
    _, quantized = prepared(tmp_path, "rtx", precision="int8", calibration=CALIBRATION)
    for name in GENERATIONS:
        assert prepared(tmp_path, name, quantized, precision="int8") == (quantized, quantized)
    with pytest.raises(InputError, match="is in int8 already: give --precision int8"):
        prepared(tmp_path, "8.6", quantized, precision="fp16")


@pytest.mark.parametrize("name", GENERATIONS)
def test_int8_without_samples_is_an_error_that_says_what_to_give(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--calibration FILE\.npz"):
        prepared(tmp_path, name, precision="int8")


@pytest.mark.parametrize("name", ["8.6", "rtx"])
def test_samples_of_another_models_inputs_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="differ in the inputs picture, x"):
        prepared(tmp_path, name, precision="int8", calibration={"picture": pictures(2)})


def test_a_calibrator_is_for_a_float_file_alone(tmp_path: Path) -> None:
    source = net(tmp_path / "m.onnx", 1)
    _, quantized = prepared(tmp_path, "rtx", source, precision="int8", calibration=CALIBRATION)
    options = BuildOptions(precision="int8", calibration=CALIBRATION)
    found = {
        (name, path.name): precision.calibrates(onnx.load(path), options, Generation(name).bindings)
        for name in ("8.6", "11")
        for path in (source, quantized)
    }
    assert [case for case, wanted in found.items() if wanted] == [("8.6", "m.onnx")]


@pytest.mark.parametrize("wanted", ["fp16", "int8"])
def test_the_converted_file_has_the_given_sizes(wanted: str, tmp_path: Path) -> None:
    source = net(tmp_path / "m.onnx", "N", height="h")
    samples = CALIBRATION if wanted == "int8" else None
    _, made = prepared(
        tmp_path, "11", source, precision=wanted, dims={"h": 16}, calibration=samples
    )
    (entry,) = onnx.load(made).graph.input
    sizes = [dim.dim_value or dim.dim_param for dim in entry.type.tensor_type.shape.dim]
    assert sizes == ["N", 3, 16, 16]
