"""Makes a model that computes the same up to rounding, to measure how much rounding matters.

Monte Carlo arithmetic (Parker 1997): each result of an operator that rounds is multiplied by a
random number next to 1. How far the outputs move is what any other order of the same sums, or
another approximation of the same functions, may move them.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto, helper

from tvmkd.export.walk import inferred

UNITS = {
    TensorProto.FLOAT: 2.0**-20,
    TensorProto.DOUBLE: 2.0**-49,
    TensorProto.FLOAT16: 2.0**-10,
}
"""The largest relative change by element type: a few units in the last place (one for float16)."""

OVERFLOW = 2.0**112
"""Times this, float32 overflows where float16 does: at 2**16."""

SUMS = {
    *("Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum", "FusedConv", "FusedMatMul"),
    *("ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"),
    *("ReduceLogSum", "ReduceProd", "GlobalAveragePool", "AveragePool", "CumSum"),
    *("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"),
    *("LpNormalization", "MeanVarianceNormalization", "RMSNormalization", "LRN", "Attention"),
    *("LSTM", "GRU", "RNN", "DFT", "STFT", "Resize", "GridSample"),
}
"""Their factors are changed: a sum may cancel, and is then off by more than its last place."""

ROUNDING = {
    *("Add", "Sub", "Sum", "Mean", "Exp", "Log", "Pow", "Sin", "Cos", "Tan", "Sinh", "Cosh"),
    *("Asin", "Acos", "Atan", "Asinh", "Acosh", "Softplus", "Reciprocal", "Div", "LogSoftmax"),
    *("Gelu", "HardSwish", "Mish", "Swish", "Elu", "Selu", "Celu", "Softmax", "Softsign", "Atanh"),
}
"""Their results are changed."""

BOUNDED = {"Sigmoid", "HardSigmoid", "Tanh", "Erf"}
"""Their results are also changed by a unit of 1: formulas for them differ by so much near 0."""

MOVES = {
    *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split"),
    *("Concat", "Expand", "Gather", "Tile", "Pad", "If", "Loop", "Scan", "Constant"),
}
"""Operators that only move values, or whose bodies compute."""

QUANTISERS = {"QuantizeLinear": 1 / 16}
"""Their input is changed by a part of a level, so that some values round to the other side."""


def noisy(model: onnx.ModelProto, draw: int = 0) -> onnx.ModelProto:
    """The model with noise in its main graph; needs no weights, and keeps names and order.

    Its random operators are seeded, and give new numbers in each run of a session.

    Args:
        draw: another number gives other noise.
    """
    typed = inferred(model, "the model")
    kinds = {
        entry.name: entry.type.tensor_type.elem_type
        for entry in (*typed.value_info, *typed.input, *typed.output)
    }
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
    weights = {entry.name for entry in model.graph.initializer}
    writer = _Writer(result.graph, kinds, taken, draw)
    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.op_type in SUMS:
            # Resize's others are sizes: changed, they make the whole run fail.
            for at, name in enumerate(node.input[: 1 if node.op_type == "Resize" else None]):
                if name and name not in weights:
                    near = at == 0 and _is_fast(node)
                    copy.input[at] = writer.local(name) if near else writer.relative(name)
        if node.op_type in QUANTISERS and len(node.input) > 1:
            copy.input[0] = writer.stepped(node.input[0], node.input[1], node.op_type)
        if _rounds(node, kinds.get(node.output[0], 0)):
            exact = writer.fresh(node.output[0])
            copy.output[0] = exact
            result.graph.node.append(copy)
            kinds[exact] = kinds[node.output[0]]
            writer.relative(exact, node.output[0], bounded=node.op_type in BOUNDED)
        else:
            result.graph.node.append(copy)
    return result


def _is_fast(node: onnx.NodeProto) -> bool:
    """Whether Winograd's algorithm may compute a convolution: by its window, stride and groups."""
    found = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    return (
        node.op_type in ("Conv", "FusedConv")
        and found.get("kernel_shape") == [3, 3]
        and found.get("group", 1) == 1
        and {*found.get("strides", [1]), *found.get("dilations", [1])} == {1}
    )


def _rounds(node: onnx.NodeProto, kind: int) -> bool:
    # ONNX Runtime keeps float32 between float16 operators on a CPU, where a compiler rounds and
    # overflows: with noise on each result its run does so too.
    if kind == TensorProto.FLOAT16 and node.op_type not in MOVES:
        return True
    return node.op_type in ROUNDING | BOUNDED and kind in UNITS


class _Writer:
    """Appends nodes to a graph."""

    def __init__(
        self, graph: onnx.GraphProto, kinds: dict[str, int], taken: set[str], draw: int
    ) -> None:
        self._graph, self._kinds, self._taken = graph, kinds, taken
        self._seeds: Iterator[int] = iter(range(1 + (draw << 20), 1 << 30))
        self._done: dict[str, str] = {}

    def fresh(self, name: str) -> str:
        """A name like ``name`` that the graph does not have."""
        number = 0
        while f"{name}~{number}" in self._taken:
            number += 1
        self._taken.add(f"{name}~{number}")
        return f"{name}~{number}"

    def relative(self, name: str, result: str = "", *, bounded: bool = False) -> str:
        """Appends ``name`` times numbers next to 1, under the name ``result``."""
        kind = self._kinds.get(name)
        if kind not in UNITS:
            return name
        if not result and name in self._done:
            return self._done[name]
        unit, half = UNITS[kind], kind == TensorProto.FLOAT16
        result = result or self.fresh(name)
        data = self._cast(name, TensorProto.FLOAT) if half else name
        last = self.fresh(name) if half else result
        product = self.fresh(name) if bounded else last
        if half:
            large, scale = self.fresh(name), self.fresh(name)
            self._add("Constant", [], scale, value_float=1 / OVERFLOW)
            noise = self._random(data, (1 - unit) * OVERFLOW, (1 + unit) * OVERFLOW)
            self._add("Mul", [data, noise], large)
            self._add("Mul", [large, scale], product)
        else:
            self._add("Mul", [data, self._random(data, 1 - unit, 1 + unit)], product)
        if bounded:
            unit /= 16 if half else 4  # near one unit in the last place of 1
            self._add("Add", [product, self._random(data, -unit, unit)], last)
        if half:
            self._add("Cast", [last], result, to=kind)
        self._done.setdefault(name, result)
        return result

    def local(self, name: str) -> str:
        """Appends ``name`` changed by some units of the largest value near each pixel.

        So much is lost by Winograd's F(4x4, 3x3), which first adds up the pixels of a tile. (Lavin
        and Gray, *Fast Algorithms for Convolutional Neural Networks*, 2016.)
        """
        if self._kinds.get(name) != TensorProto.FLOAT:
            return self.relative(name)
        key = f"{name} near"
        if key not in self._done:
            unit = UNITS[TensorProto.FLOAT]
            size, most, shift, result = (self.fresh(name) for _ in range(4))
            self._add("Abs", [name], size)
            self._add("MaxPool", [size], most, kernel_shape=[5, 5], pads=[2, 2, 2, 2])
            self._add("Mul", [most, self._random(name, -unit, unit)], shift)
            self._add("Add", [name, shift], result)
            self._done[key] = result
        return self._done[key]

    def stepped(self, name: str, scale: str, quantiser: str) -> str:
        """Appends ``name`` changed by a part of the quantiser's scale, if that is one number."""
        sizes = {entry.name: list(entry.dims) for entry in self._graph.initializer}
        if self._kinds.get(name) != TensorProto.FLOAT or sizes.get(scale, [2]) not in ([], [1]):
            return name
        part = QUANTISERS[quantiser]
        shift, result = self.fresh(name), self.fresh(name)
        self._add("Mul", [self._random(name, -part, part), scale], shift)
        self._add("Add", [name, shift], result)
        return result

    def _cast(self, name: str, kind: int) -> str:
        result = self.fresh(name)
        self._kinds[result] = kind
        self._add("Cast", [name], result, to=kind)
        return result

    def _random(self, like: str, low: float, high: float) -> str:
        made = self.fresh(like)
        self._add(
            "RandomUniformLike", [like], made,
            dtype=self._kinds[like], low=low, high=high, seed=float(next(self._seeds)),
        )  # fmt: skip
        return made

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: object) -> None:
        self._graph.node.append(helper.make_node(kind, inputs, [output], **attributes))
