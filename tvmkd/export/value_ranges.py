"""Derives from an ONNX graph which values its integer inputs may have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from tvmkd.export.graph import graphs, nodes

_SAME_VALUES = {
    *("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand"),
    *("Slice", "Split", "Tile", "Concat", "Gather"),
}
_COMPARISONS = {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"}
# Which input is an index, and into which axis of which other input: None for the attribute axis.
_INDICES: dict[str, tuple[int, int, int | None]] = {
    "Gather": (1, 0, None),
    "GatherElements": (1, 0, None),
    "ScatterElements": (1, 0, None),
    "Scatter": (1, 0, None),
    "GatherND": (1, 0, 0),
    "ScatterND": (1, 0, 0),
}
# How many values an operand may have before its result is undefined, overflows, or is a tensor
# that no memory holds.
_OPERANDS: dict[str, dict[int, int]] = {
    "BitShift": {1: 8},
    "Pow": {1: 4},
    **{name: {1: 2} for name in ("Tile", "Expand", "Reshape", "Pad", "TopK", "Split", "CumSum")},
    **{name: {1: 2} for name in ("Squeeze", "Unsqueeze", "Trilu", "CenterCropPad", "OneHot")},
    **{name: dict.fromkeys(range(5), 2) for name in ("Range", "ConstantOfShape")},
    "Slice": dict.fromkeys(range(1, 5), 2),
    "Resize": dict.fromkeys(range(1, 4), 2),
    "Loop": {0: 2},
}
# Of com.microsoft: word and segment numbers.
_EMBEDDINGS = {0: 2, 1: 4}


@dataclass(frozen=True)
class Values:
    """What an integer input may hold.

    Attributes:
        size: values from 0 below this are indices or classes; None: nothing limits them.
        points: constants that it is compared with: each selects a branch.
        least: 1 for a divisor.
    """

    size: int | None
    points: tuple[int, ...] = ()
    least: int = 0


def values_of(model: onnx.ModelProto, name: str) -> Values:
    """The values of an integer input of the main graph.

    Args:
        model: with its shapes inferred (`onnx.shape_inference`).
        name: of the input.
    """
    constants = _constants(model)
    sizes = _sizes(model, constants)
    limits: set[int] = set()
    points: set[int] = set()
    same, seen, least = [name], {name}, 0
    while same:
        tensor = same.pop()
        for node, at in _readers(model, tensor):
            limits.update(_limits(node, at, sizes, constants))
            least = max(least, int(node.op_type in ("Div", "Mod") and at == 1))
            if node.op_type in _COMPARISONS:
                other = constants.get(node.input[1 - at])
                if other is not None and other.size and other.size <= 16:
                    points.update(int(value) for value in other.ravel())
            if node.op_type in _SAME_VALUES and (at == 0 or node.op_type == "Concat"):
                new = [each for each in node.output if each and each not in seen]
                same += new
                seen.update(new)
    size = min(limits, default=None)
    return Values(size, tuple(sorted(points)), least)


def _readers(model: onnx.ModelProto, tensor: str) -> Iterator[tuple[onnx.NodeProto, int]]:
    for node in nodes(model):
        for at, read in enumerate(node.input):
            if read == tensor:
                yield node, at


def _limits(
    node: onnx.NodeProto,
    at: int,
    sizes: dict[str, list[int | None]],
    constants: dict[str, np.ndarray],
) -> Iterator[int]:
    """How many values an index has that is input ``at`` of ``node``."""
    size: int | None = None
    if node.op_type in _INDICES and _INDICES[node.op_type][0] == at:
        _, data, axis = _INDICES[node.op_type]
        shape = sizes.get(node.input[data])
        if axis is None:
            axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
        if shape and -len(shape) <= axis < len(shape):
            size = shape[axis]
    elif at in _OPERANDS.get(node.op_type, {}):
        size = _OPERANDS[node.op_type][at]
    elif node.op_type == "OneHot" and at == 0 and node.input[1] in constants:
        size = int(constants[node.input[1]].ravel()[0])
    elif node.op_type == "EmbedLayerNormalization":
        table = _EMBEDDINGS.get(at, len(node.input))
        size = (sizes.get(node.input[table]) or [None])[0] if table < len(node.input) else None
    if size:
        yield size


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The small constants by name."""
    found = {}
    for graph in graphs(model):
        tensors = {entry.name: entry for entry in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                tensors.update((node.output[0], each.t) for each in node.attribute)
        for name, tensor in tensors.items():
            external = tensor.data_location == onnx.TensorProto.EXTERNAL
            if not external and tensor.data_type and int(np.prod(tensor.dims)) <= 64:
                found[name] = numpy_helper.to_array(tensor)
    return found


def _sizes(model: onnx.ModelProto, constants: dict[str, np.ndarray]) -> dict[str, list[int | None]]:
    """The shape of each tensor that has a known one."""
    found: dict[str, list[int | None]] = {name: [*a.shape] for name, a in constants.items()}
    for graph in graphs(model):
        found.update({entry.name: list(entry.dims) for entry in graph.initializer})
        for entry in (*graph.input, *graph.value_info):
            if entry.type.tensor_type.HasField("shape"):
                found[entry.name] = [
                    dim.dim_value if dim.HasField("dim_value") else None
                    for dim in entry.type.tensor_type.shape.dim
                ]
    return found
