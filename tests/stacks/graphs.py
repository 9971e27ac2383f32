"""Small ONNX graphs, each awkward in its own way for a channels-last compiler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """Builds an ONNX model node by node; weights come from one seeded generator."""

    def __init__(self, *shape: int) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))]
        self.last = "x"

    def weight(self, *shape: int, value: object = None) -> str:
        name = f"w{len(self.weights)}"
        array = self.rng.standard_normal(shape) / max(1.0, np.prod(shape[1:])) ** 0.5
        array = array if value is None else np.asarray(value)
        kind = np.int64 if array.dtype.kind == "i" else np.float32
        self.weights.append(numpy_helper.from_array(array.astype(kind), name))
        return name

    def add(self, kind: str, *more: str, outputs: int = 1, data: str | None = None, **attrs):
        names = [f"t{len(self.nodes)}.{i}" for i in range(outputs)]
        given = [data if data is not None else self.last, *more]
        self.nodes.append(helper.make_node(kind, given, names, name=f"n{len(self.nodes)}", **attrs))
        self.last = names[0]
        return names[0] if outputs == 1 else names

    def conv(self, inner: int, outer: int, kernel: int = 3, groups: int = 1, **attrs) -> str:
        attrs.setdefault("pads", [kernel // 2] * 4)
        weight = self.weight(outer, inner // groups, kernel, kernel)
        return self.add("Conv", weight, self.weight(outer), group=groups, **attrs)

    def save(self, path: Path, *outputs: str) -> Path:
        infos = [onnx.ValueInfoProto(name=name) for name in (outputs or (self.last,))]
        for info in infos:
            info.type.tensor_type.elem_type = TensorProto.FLOAT
        graph = helper.make_graph(self.nodes, "graph", self.inputs, infos, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        onnx.save(onnx.shape_inference.infer_shapes(model), path)
        return path


def separable(path: Path) -> Path:
    """Strided stem, depthwise, pointwise, residual, pooling, a dense head: the usual student."""
    g = Graph(1, 3, 20, 20)
    g.conv(3, 16, strides=[2, 2])
    skip = g.add("Relu")
    g.conv(16, 16, groups=16)
    g.add("Clip", g.weight(value=0.0), g.weight(value=6.0))
    g.conv(16, 16, kernel=1)
    g.add("Add", skip)
    g.add("GlobalAveragePool")
    g.add("Flatten")
    g.add("Gemm", g.weight(16, 10), g.weight(10))
    return g.save(path)


def ragged(path: Path) -> Path:
    """Channel counts that fill no vector, an odd image, uneven padding, dilation."""
    g = Graph(1, 5, 13, 11)
    g.conv(5, 58, pads=[0, 1, 2, 1])
    g.add("Relu")
    g.conv(58, 58, groups=58, strides=[2, 1])
    g.conv(58, 3, kernel=3, dilations=[2, 2], pads=[2, 2, 2, 2])
    return g.save(path)


def attention(path: Path) -> Path:
    """Squeeze and excitation with hard activations: a small sum broadcast over a large image."""
    g = Graph(1, 24, 14, 14)
    x = g.conv(24, 24, kernel=5, groups=24)
    g.add("HardSwish")
    x = g.last
    g.add("ReduceMean", g.weight(value=[2, 3]), keepdims=1)
    g.conv(24, 8, kernel=1)
    g.add("Relu")
    g.conv(8, 24, kernel=1)
    g.add("HardSigmoid", alpha=1 / 6, beta=0.5)
    g.add("Mul", x)
    g.conv(24, 40, kernel=1)
    return g.save(path)


def shuffle(path: Path) -> Path:
    """ShuffleNet's unit: concatenate, shuffle channels, split, and two outputs."""
    g = Graph(1, 24, 8, 8)
    a = g.conv(24, 12, kernel=1)
    b = g.conv(24, 12, kernel=3, data="x")
    g.add("Concat", b, data=a, axis=1)
    g.add("Reshape", g.weight(value=[1, 2, 12, 8, 8]))
    g.add("Transpose", perm=[0, 2, 1, 3, 4])
    g.add("Reshape", g.weight(value=[1, 24, 8, 8]))
    left, right = g.add("Split", outputs=2, axis=1, num_outputs=2)
    g.add("Relu", data=left)
    first = g.last
    g.add("ReduceMean", g.weight(value=[2, 3]), data=right, keepdims=0)
    return g.save(path, first, g.last)


def stranger(path: Path) -> Path:
    """What has no channels-last form here: grouped convolution, softmax, a graph of products."""
    g = Graph(1, 16, 6, 6)
    g.conv(16, 16, groups=4)
    g.add("Reshape", g.weight(value=[1, 16, 36]))
    tokens = g.add("Transpose", perm=[0, 2, 1])
    keys = g.add("MatMul", g.weight(16, 16))
    g.add("Transpose", perm=[0, 2, 1])
    g.add("MatMul", g.last, data=tokens)
    g.add("Softmax", axis=-1)
    g.add("MatMul", keys)
    return g.save(path)


def two_convolutions(path: Path) -> Path:
    """The smallest graph in which one of several convolutions can be wrong."""
    g = Graph(1, 3, 8, 8)
    g.conv(3, 8)
    g.add("Relu")
    g.conv(8, 4, kernel=1)
    return g.save(path)


def positions(path: Path) -> Path:
    """Where the image is above zero: how many places there are depends on the data.

    Beside a convolution, whose own zeros would depend on the order of its sums.
    """
    g = Graph(1, 3, 12, 12)
    sums = g.conv(3, 16)
    g.add("Relu", data="x")
    g.add("NonZero")
    g.add("Transpose", perm=[1, 0])
    return g.save(path, sums, g.add("Cast", to=TensorProto.FLOAT))


def winograd(path: Path) -> Path:
    """3x3 convolutions with many channels, over images that no tile divides, one uneven pad."""
    g = Graph(1, 32, 14, 15)
    skip = g.conv(32, 40)
    g.add("Relu")
    g.conv(40, 40)
    g.add("Add", skip)
    g.conv(40, 32, pads=[0, 1, 1, 2])
    return g.save(path)


def pooled(path: Path) -> Path:
    """Pooling with and without padding, a sum over channels, a constant image added."""
    g = Graph(1, 16, 15, 15)
    g.conv(16, 16, kernel=1)
    g.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    g.add("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    g.add("Add", g.weight(16, 1, 1))
    g.add("ReduceSum", g.weight(value=[1]), keepdims=1)
    return g.save(path)


def split_in_two(path: Path) -> Path:
    """Two convolutions, and between them what TensorRT's patterns do not have."""
    g = Graph(1, 3, 8, 8)
    g.conv(3, 8)
    g.add("ArgMax", axis=1, keepdims=1)
    g.add("Cast", to=TensorProto.FLOAT)
    g.conv(1, 4)
    return g.save(path)


ALL: dict[str, Callable[[Path], Path]] = {
    make.__name__: make
    for make in (separable, ragged, attention, shuffle, stranger, winograd, pooled)
}


def clipped(path: Path, low: float | None, high: float | None) -> Path:
    """A file with one Clip of x, ``[2, 3]``; None: without that bound."""
    g = Graph(2, 3)
    bounds = ["" if bound is None else g.weight(value=bound) for bound in (low, high)]
    g.add("Clip", *bounds)
    return g.save(path)
