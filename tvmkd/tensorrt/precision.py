"""Sets an engine's precision: with the builder's flags if it has them, else in the ONNX file.

TensorRT 11 and TensorRT-RTX use the types in the file, so FP16 and INT8 are written into it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from tvmkd.base.errors import InputError
from tvmkd.tensorrt.api import Bindings
from tvmkd.tensorrt.options import BuildOptions, Precision
from tvmkd.tensorrt.profiles import free_inputs

_QUANTIZED = {"QuantizeLinear", "DequantizeLinear"}


def stored(model: onnx.ModelProto) -> Precision:
    """The precision of the file: ``int8`` (QDQ), ``fp16`` (weights, or inputs) or ``fp32``."""
    if any(node.op_type in _QUANTIZED for node in model.graph.node):
        return "int8"
    half = onnx.TensorProto.FLOAT16
    inputs = (entry.type.tensor_type.elem_type for entry in model.graph.input)
    if half in (*inputs, *(entry.data_type for entry in model.graph.initializer)):
        return "fp16"
    return "fp32"


def calibrates(model: onnx.ModelProto, options: BuildOptions, bindings: Bindings) -> bool:
    """Whether TensorRT calibrates the INT8 ranges."""
    return options.precision == "int8" and stored(model) != "int8" and bindings.calibrates


def prepare(
    source: Path, model: onnx.ModelProto, options: BuildOptions, bindings: Bindings, folder: Path
) -> Path:
    """The file to parse: ``source``, or a copy in ``folder`` converted to the precision.

    Raises:
        InputError: the file has another precision already, INT8 has no calibration samples, or the
            model cannot be converted.
    """
    wanted, there = options.precision, stored(model)
    if there == wanted or (there, wanted) == ("fp32", "tf32"):
        return source
    if there != "fp32":
        raise InputError(f"{source}: is in {there} already: give --precision {there}")
    if wanted == "fp16":
        return source if bindings.flag("FP16") is not None else _half(source, options, folder)
    if options.calibration is None:
        raise InputError(
            f"{source}: int8 needs ranges: give inputs to calibrate with (--calibration FILE.npz), "
            "or a file with QuantizeLinear and DequantizeLinear"
        )
    missing = free_inputs(model).keys() ^ options.calibration.keys()
    if missing:
        raise InputError(
            f"{source}: calibration and model differ in the inputs {', '.join(sorted(missing))}"
        )
    return source if bindings.calibrates else _quantized(source, options, folder)


def _half(source: Path, options: BuildOptions, folder: Path) -> Path:
    from tvmkd.export.half import half

    out = folder / "half.onnx"
    half(_sized(source, options, folder), out, options.keep_fp32)
    return out


def _quantized(source: Path, options: BuildOptions, folder: Path) -> Path:
    from tvmkd.export import qdq

    if options.calibration is None or len(options.calibration) != 1:
        raise InputError(
            f"{source}: is quantised here for models of one input; give a file with "
            "QuantizeLinear and DequantizeLinear"
        )
    (samples,) = options.calibration.values()
    out = folder / "int8.onnx"
    qdq.quantize(_sized(source, options, folder), out, samples, options.keep_fp32, symmetric=True)
    return out


def _sized(source: Path, options: BuildOptions, folder: Path) -> Path:
    """A copy of the file with ``dims`` as fixed sizes, because the conversion runs the model."""
    if not options.dims:
        return source
    model = onnx.load(str(source))
    for entry in model.graph.input:
        for axis, dim in enumerate(entry.type.tensor_type.shape.dim):
            size = options.dims.get(dim.dim_param or f"{entry.name}.{axis}")
            if size is not None and not dim.HasField("dim_value"):
                dim.dim_value = size
    sized = folder / "sized.onnx"
    onnx.save(model, str(sized))
    return sized


def set_flags(config: Any, builder: Any, options: BuildOptions, bindings: Bindings) -> list[str]:
    """Sets the precision flags that this generation has; returns notes for the user."""
    notes = []
    tf32 = bindings.flag("TF32")
    if tf32 is not None and options.precision == "fp32":
        # TF32 is on by default.
        config.clear_flag(tf32)
    flag = bindings.flag(options.precision.upper())
    if flag is not None and options.precision != "fp32":
        config.set_flag(flag)
        if not getattr(builder, f"platform_has_fast_{options.precision}", True):
            notes.append(f"this GPU is not faster in {options.precision}")
    return notes
