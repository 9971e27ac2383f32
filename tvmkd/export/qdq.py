"""From a float ONNX file to one with QuantizeLinear and DequantizeLinear, by ONNX Runtime."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tvmkd.base import files
from tvmkd.base.errors import InputError
from tvmkd.export import ort_tools
from tvmkd.export.layers import nodes_of

OPERATORS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Facts:
    """What the file holds: layers in eight bits, and those that stayed."""

    quantized: int
    kept: tuple[str, ...]


class _Reader:
    """Images one by one, as ONNX Runtime's calibration asks for them."""

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

    Weights keep seven bits: without VNNI the products of pairs of bytes saturate in 16 bits, on any
    machine that the file may come to.

    Args:
        source: float32 ONNX with one input, batch 1.
        out: where to.
        images: for the ranges of activations: float32 ``[n, ...]``.
        keep_fp32: layers that stay as they are, as `tvmkd.export.layers` takes them.
        symmetric: as TensorRT reads it: activations int8 about zero, biases in FP32; and weights of
            eight bits, since no GPU adds products in 16.

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
    with tempfile.TemporaryDirectory(prefix="tvmkd-quantize-") as folder, _quiet():
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
        except Exception as error:  # it raises what it likes
            text = (str(error).strip().splitlines() or [""])[0]
            raise InputError(
                f"{source}: ONNX Runtime cannot quantise it: {type(error).__name__}: {text[:200]}"
            ) from error
    return Facts(len(layers) - len(kept), tuple(kept))


def _check(path: Path) -> None:
    """Weights have a scale a channel and no zero points but zero."""
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


class _quiet:  # noqa: N801 - a context manager
    """ONNX Runtime's quantiser logs about itself."""

    def __enter__(self) -> None:
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        self._disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *error: object) -> None:
        logging.disable(self._disabled)
        self._warnings.__exit__(None, None, None)
