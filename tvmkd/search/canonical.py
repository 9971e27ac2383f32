"""Gives int8 files scales that networks share, so that they share their kernels.

The compiler writes the scales and zero points of activations into a kernel as constants, which do
not change its time. Each calibration has its own: without this, no two int8 networks would have a
kernel in common, and a latency table would never know one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
LAYERS = ("Conv", "Gemm", "MatMul")
ZERO = 128
"""Zero point of an activation whose own is not zero. Zero itself stays: it saves an operation."""
LARGEST = 1 << 15
"""Of the numbers of a bias."""


def rescale(path: Path) -> None:
    """Replaces the scales and zero points of activations, in place.

    Scales that meet in a kernel stay different or equal, as they are in the calibrated file. The
    network's answers change; its kernels are those of the calibrated file but for these constants.

    Args:
        path: a file of `tvmkd.export.qdq.quantize`.
    """
    model = onnx.load(os.fspath(path))
    tensors = {entry.name: entry for entry in model.graph.initializer}

    def value(name: str) -> np.ndarray:
        return np.asarray(numpy_helper.to_array(tensors[name]))

    def put(name: str, array: np.ndarray) -> None:
        tensors[name].CopyFrom(numpy_helper.from_array(array, name))

    numbers = _numbers(model, {name: value(name).tobytes() for name in tensors})
    for scale, number in numbers.items():
        put(scale, np.full_like(value(scale), _scale(number)))
    for node in model.graph.node:
        if node.op_type in (QUANTIZE, DEQUANTIZE) and node.input[1] in numbers:
            for zero in node.input[2:3]:
                known = value(zero)
                if known.any():
                    put(zero, np.full_like(known, ZERO if known.dtype == np.uint8 else 1))
    for bias, scale, factors in _biases(model):
        # A bias is in units of its input's scale times its weight's.
        product = np.prod(np.broadcast_arrays(*(value(name) for name in factors)), axis=0)
        put(scale, np.asarray(product, np.float32).reshape(value(scale).shape))
        # A kernel adds a bias of large numbers apart, and those of trained networks are not.
        put(bias, np.clip(value(bias), -LARGEST, LARGEST))
    onnx.save(model, os.fspath(path))


def _scale(number: int) -> float:
    """Scales that are no powers of two, of which the compiler may make shifts."""
    return float(np.float32(0.017 * 1.3**number))


def _numbers(model: onnx.ModelProto, values: Mapping[str, bytes]) -> dict[str, int]:
    """A number for each scale of an activation.

    It differs from those of what the activation is computed from, unless the scales are equal.
    """
    numbers: dict[str, int] = {}
    # The scales of the last quantised activations that a value depends on.
    behind: dict[str, frozenset[str]] = {}
    for node in model.graph.node:
        before = frozenset().union(*(behind.get(name, frozenset()) for name in node.input))
        if node.op_type in (QUANTIZE, DEQUANTIZE) and node.input[0] not in values:
            scale = node.input[1]
            if scale not in numbers:
                taken = {numbers[other] for other in before}
                equal = [numbers[other] for other in before if values[other] == values[scale]]
                numbers[scale] = equal[0] if equal else min(set(range(len(taken) + 1)) - taken)
            before = frozenset({scale})
        for name in node.output:
            behind[name] = before
    return numbers


def _biases(model: onnx.ModelProto) -> Iterator[tuple[str, str, list[str]]]:
    """Each quantised bias, its scale, and the scales of the layer's input and weight."""
    made = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in LAYERS and len(node.input) == 3:
            sources = [made[name] for name in node.input if name in made]
            if [each.op_type for each in sources] == [DEQUANTIZE] * 3:
                image, weight, bias = sources
                yield bias.input[0], bias.input[1], [image.input[1], weight.input[1]]
