"""Quantises a float ONNX file to QuantizeLinear and DequantizeLinear with ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tvmkd.base import files
from tvmkd.base.errors import InputError
from tvmkd.base.text import first_line
from tvmkd.export import ort_tools
from tvmkd.export.layers import nodes_of

OPERATORS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Facts:
    """How many layers are in eight bits, and the names of those that stayed in FP32."""

    quantized: int
    kept: tuple[str, ...]


class _Reader:
    """Gives ONNX Runtime's calibration one image at a time."""

    def __init__(self, name: str, images: np.ndarray) -> None:
        self._feeds: Iterator[dict[str, np.ndarray]] = iter(
            [{name: image[None]} for image in images]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def quantize(
    source: Path,
    out: Path,
    images: np.ndarray,
    keep_fp32: Collection[str] = (),
    *,
    symmetric: bool = False,
) -> Facts:
    """Writes ``out``: weights int8 per channel, symmetric; activations uint8 per tensor.

    Weights use seven bits only: on CPUs without VNNI, sums of two products of bytes saturate in 16
    bits, and the file may run on any machine.

    Args:
        source: float32 ONNX with one input, batch 1.
        out: the file to write.
        images: to calibrate the ranges of activations with: float32 ``[N, ...]``.
        keep_fp32: layers that stay in FP32, as in `tvmkd.export.layers`.
        symmetric: the form that TensorRT reads: activations int8 with zero point 0, biases in FP32,
            weights in all eight bits, since GPUs accumulate in 32.

    Raises:
        InputError: a name in ``keep_fp32`` matches no node, or ONNX Runtime cannot quantise it.
    """
    ort_tools.importable()
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = onnx.load(str(source))
    layers = [node.name for node in model.graph.node if node.op_type in OPERATORS]
    named = nodes_of(model, list(keep_fp32), "[quantize] keep_fp32")
    kept = [name for name in named if name in layers]
    with tempfile.TemporaryDirectory(prefix="tvmkd-quantize-") as folder, ort_tools.quiet():
        prepared = Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            with files.draft(out, ".onnx") as written:
                quantize_static(
                    str(prepared),
                    str(written),
                    _Reader(model.graph.input[0].name, images),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=list(OPERATORS),
                    per_channel=True,
                    reduce_range=not symmetric,
                    activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    nodes_to_exclude=kept,
                    extra_options={
                        "WeightSymmetric": True,
                        "ActivationSymmetric": symmetric,
                        "QuantizeBias": not symmetric,
                    },
                )
                _check(written)
        except InputError:
            raise
        except Exception as error:  # its quantiser raises errors of many classes
            raise InputError(
                f"{source}: ONNX Runtime cannot quantise it: {type(error).__name__}: "
                f"{first_line(error)}"
            ) from error
    return Facts(len(layers) - len(kept), tuple(kept))


def _check(path: Path) -> None:
    """Makes sure that at least one weight is quantised, and each with zero points of 0."""
    model = onnx.load(str(path))
    values: dict[str, Any] = {
        entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer
    }
    found = 0
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in values:
            continue
        weight = values[node.input[0]]
        if weight.dtype != np.int8:
            continue
        found += 1
        if np.any(values[node.input[2]] != 0):
            raise InputError(f"{path}: {node.name}: a weight with a zero point that is not zero")
    if not found:
        raise InputError(f"{path}: no weight was quantised")
