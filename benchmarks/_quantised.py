"""Files in QDQ form, made of float ones with ONNX Runtime's quantiser."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

IMAGES = 4


class _Reader:
    """Calibration data: images, or standard normal noise, the same each time."""

    def __init__(self, path: Path, images: np.ndarray | None) -> None:
        (given,) = onnx.load(str(path)).graph.input
        shape = [size.dim_value for size in given.type.tensor_type.shape.dim]
        if images is None:
            images = np.random.default_rng(0).standard_normal((IMAGES, *shape[1:]))
        self._feeds: Iterator[dict[str, np.ndarray]] = iter(
            [{given.name: image[None].astype(np.float32)} for image in images]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def quantised(
    source: Path, out: Path, *, operators: bool = False, images: np.ndarray | None = None
) -> Path:
    """``out``; if it is missing, ``source`` is quantised: every operator that ONNX Runtime can.

    Weights are int8 with a scale for each output channel, of seven bits: on CPUs without VNNI,
    ONNX Runtime's sums of eight-bit products saturate. Activations are uint8.

    Args:
        source: with one input of fixed sizes, batch 1.
        operators: in QOperator form (QLinearConv and others) instead.
        images: float32 ``[N, ...]``, to calibrate the ranges of activations with. None: noise,
            which is good enough for latency and for agreement where weights are random.
    """
    if out.exists():
        return out
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="tvmkd-int8-") as folder:
        prepared, written = Path(folder) / "prepared.onnx", Path(folder) / "written.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(written),
            _Reader(source, images),
            quant_format=QuantFormat.QOperator if operators else QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = out.with_name(f".{out.name}")
        draft.write_bytes(written.read_bytes())
        draft.replace(out)
    return out
