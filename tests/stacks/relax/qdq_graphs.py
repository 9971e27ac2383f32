"""Small ONNX graphs in QDQ form."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
from onnx import numpy_helper


class Quantised(graphs.Graph):
    """A graph whose tensors are quantised: ``activation`` is the type of its activations."""

    def __init__(self, *shape: int, activation: str = "uint8", bits: int = 7) -> None:
        super().__init__(*shape)
        self.activation, self.most = np.dtype(activation), 2 ** (bits - 1) - 1

    def array(self, values: np.ndarray) -> str:
        """A constant of any type."""
        self.weights.append(numpy_helper.from_array(values, f"w{len(self.weights)}"))
        return str(self.weights[-1].name)

    def qdq(self, scale: float = 0.05, zero: int | None = None, data: str | None = None) -> str:
        """Quantises a tensor and dequantises it again."""
        if zero is None:
            zero = 110 if self.activation == np.uint8 else -7
        unit, point = self.weight(value=scale), self.array(np.array(zero, self.activation))
        self.add("QuantizeLinear", unit, point, data=data)
        return str(self.add("DequantizeLinear", unit, point))

    def tap(self, *shape: int, axis: int = 0) -> tuple[str, np.ndarray]:
        """Dequantised weights, and their scale for each index of an axis."""
        values = self.rng.integers(-self.most, self.most + 1, shape).astype(np.int8)
        scale = (self.rng.random(shape[axis]) * 0.01 + 0.005).astype(np.float32)
        zero = self.array(np.zeros(shape[axis], np.int8))
        name = self.array(values)
        given = self.last
        tap = self.add("DequantizeLinear", self.array(scale), zero, data=name, axis=axis)
        self.last = given
        return str(tap), scale

    def bias(self, unit: np.ndarray) -> str:
        """A dequantised int32 bias."""
        values, given = self.rng.integers(-3000, 3000, len(unit)).astype(np.int32), self.last
        zero = self.array(np.zeros(len(unit), np.int32))
        name = self.add("DequantizeLinear", self.array(unit), zero, data=self.array(values), axis=0)
        self.last = given
        return str(name)

    def quantised_conv(
        self, inner: int, outer: int, kernel: int = 3, groups: int = 1, unit: float = 0.05, **attrs
    ) -> str:
        """A convolution of a tensor with scale ``unit``."""
        attrs.setdefault("pads", [kernel // 2] * 4)
        tap, scale = self.tap(outer, inner // groups, kernel, kernel)
        bias = self.bias((np.float32(unit) * scale).astype(np.float32))
        return str(self.add("Conv", tap, bias, group=groups, **attrs))


def network(path: Path, activation: str = "uint8", bits: int = 7) -> Path:
    """Convolutions of all kinds, a residual, pooling, concatenation, a mean and a dense layer."""
    g = Quantised(1, 3, 12, 12, activation=activation, bits=bits)
    g.qdq()
    g.quantised_conv(3, 16, strides=[2, 1], pads=[0, 1, 2, 1])
    g.add("Relu")
    skip = g.qdq(0.02)
    g.quantised_conv(16, 16, groups=16, unit=0.02)
    g.add("Clip", g.weight(value=0.0), g.weight(value=6.0))
    g.qdq(0.03)
    g.quantised_conv(16, 16, groups=4, unit=0.03)
    g.qdq(0.04)
    g.add("Add", skip)
    first = g.qdq(0.05)
    g.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    second = g.qdq(0.05)
    g.quantised_conv(16, 10, kernel=1, data=second)
    g.add("Sigmoid")
    third = g.qdq(0.01, 3)
    g.add("Concat", third, data=second, axis=1)
    g.qdq(0.05)
    g.add("GlobalAveragePool")
    g.qdq(0.03)
    g.add("Flatten")
    tap, _ = g.tap(26, 10, axis=1)
    g.add("MatMul", tap)
    g.add("Add", g.array(g.rng.standard_normal(10).astype(np.float32)))
    g.qdq(0.05)
    return g.save(path, first, g.last)


def operators(path: Path) -> Path:
    """A convolution and a matrix product in QOperator form."""
    g = Quantised(1, 4, 6, 6)
    zero = g.array(np.array(110, np.uint8))
    units = [g.weight(value=scale) for scale in (0.05, 0.06, 0.3)]
    g.add("QuantizeLinear", units[0], zero)
    values = g.rng.integers(-63, 64, (16, 4, 3, 3)).astype(np.int8)
    scales = g.array(np.linspace(0.005, 0.01, 16).astype(np.float32))
    bias = g.array(g.rng.integers(-3000, 3000, 16).astype(np.int32))
    zeros = g.array(np.zeros(16, np.int8))
    weights = [g.array(values), scales, zeros, units[1], zero, bias]
    g.add("QLinearConv", units[0], zero, *weights, pads=[1] * 4)
    g.add("Flatten")
    values = g.rng.integers(-63, 64, (576, 5)).astype(np.int8)
    unit, none = g.array(np.array(0.01, np.float32)), g.array(np.array(0, np.int8))
    g.add("QLinearMatMul", units[1], zero, g.array(values), unit, none, units[2], zero)
    g.add("DequantizeLinear", units[2], zero)
    return g.save(path)
