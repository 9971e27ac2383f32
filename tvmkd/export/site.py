"""One ONNX node that is being rewritten in place, and what is known about its tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference
from onnx import TensorProto, helper, numpy_helper

Shape = tuple[int | None, ...]
OURS = {"", "ai.onnx"}
_SMALL = 1 << 10  # elements: more than any list of axes, sizes or pads has
_RANDOM = {"Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike"}


class Refused(Exception):
    """A node has no form that is wanted; the text goes after its operator: ``has ...``."""


@dataclass(frozen=True)
class Scope:
    """What the names in a graph stand for, those from outside it included.

    Attributes:
        types: of the tensors whose type could be inferred.
        constants: initializers, and the values of Constant nodes.
        taken: every name in the model, so that new ones differ; shared by all scopes.
        source: opset that the model was written in, also where it is brought to 13 by now.
        target: opset that it will be written in.
        problems: (operator, what of it has no wanted form) -> nodes; shared by all scopes.
    """

    types: dict[str, onnx.TypeProto]
    constants: dict[str, TensorProto]
    taken: set[str]
    source: int
    target: int
    problems: dict[tuple[str, str], list[str]]

    def fresh(self, stem: str) -> str:
        """A name that nothing in the model has yet."""
        name, count = stem, 1
        while name in self.taken:
            name, count = f"{stem}_{count}", count + 1
        self.taken.add(name)
        return name

    def learn(self, node: onnx.NodeProto) -> None:
        """Infers the types of a node's outputs that are not known yet, and keeps a constant."""
        if node.op_type == "Constant" and node.domain in OURS:
            value = constant_value(node)
            if value is not None:
                self.constants[node.output[0]] = value
                kind = helper.make_tensor_type_proto(value.data_type, value.dims)
                self.types[node.output[0]] = kind
            return
        if node.domain not in OURS:
            return
        names = [name for name in node.input if name]
        if any(name not in self.types for name in names):
            return
        if any(name not in self.types for name in node.output if name):
            self._infer(node, names)
        self._evaluate(node, names)

    def _infer(self, node: onnx.NodeProto, names: Sequence[str]) -> None:
        try:
            schema = onnx.defs.get_schema(node.op_type, self.target)
            found = onnx.shape_inference.infer_node_outputs(
                schema,
                node,
                {name: self.types[name] for name in names},
                {name: self.constants[name] for name in names if name in self.constants},
                opset_imports=[helper.make_opsetid("", self.target)],
            )
        except Exception:  # C++ errors of several kinds: what is not known stays unknown
            return
        for name, kind in found.items():
            if name and kind.ByteSize():
                self.types.setdefault(name, kind)

    def _evaluate(self, node: onnx.NodeProto, names: Sequence[str]) -> None:
        """Keeps the value of a node that follows from fixed shapes or from small constants."""
        if node.op_type in _RANDOM or len(node.output) != 1 or node.output[0] in self.constants:
            return
        output = node.output[0]
        if node.op_type in {"Shape", "Size"}:
            kind = self.types[names[0]].tensor_type
            if not kind.HasField("shape") or any(dim.dim_value < 1 for dim in kind.shape.dim):
                return
            sizes = [dim.dim_value for dim in kind.shape.dim]
            feeds = {names[0]: np.broadcast_to(np.float32(0), sizes)}
        elif names and all(self._is_small(name) for name in names):
            feeds = {name: numpy_helper.to_array(self.constants[name]) for name in names}
        else:
            return
        try:
            from onnx.reference import ReferenceEvaluator

            inputs = [onnx.ValueInfoProto(name=name) for name in feeds]
            graph = helper.make_graph([node], "one", inputs, [onnx.ValueInfoProto(name=output)])
            versions = [helper.make_opsetid("", self.target)]
            model = helper.make_model(graph, opset_imports=versions)
            (value,) = ReferenceEvaluator(model).run(None, feeds)
            array = np.asarray(value)
            if array.size <= _SMALL:
                self.constants[output] = numpy_helper.from_array(array)
        except Exception:  # the reference lacks some operators and forms; the node stays
            return

    def _is_small(self, name: str) -> bool:
        tensor = self.constants.get(name)
        return (
            tensor is not None
            and tensor.data_location != TensorProto.EXTERNAL
            and math.prod(tensor.dims) <= _SMALL
        )


class Site:
    """A node that is being rewritten in place, and the nodes that go before it."""

    def __init__(self, node: onnx.NodeProto, scope: Scope) -> None:
        self.node = node
        self.scope = scope
        self.before: list[onnx.NodeProto] = []
        self._constants: dict[bytes, str] = {}

    @property
    def name(self) -> str:
        """The node's name, or that of its first output where it has none."""
        return self.node.name or next(iter(self.node.output), "?")

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute; text comes as ``str``."""
        for entry in self.node.attribute:
            if entry.name == name:
                value = helper.get_attribute_value(entry)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def set(self, name: str, value: Any) -> None:
        """Sets an attribute."""
        self.drop(name)
        self.node.attribute.append(helper.make_attribute(name, value))

    def drop(self, *names: str) -> None:
        """Takes attributes away, those that are there."""
        kept = [entry for entry in self.node.attribute if entry.name not in names]
        if len(kept) < len(self.node.attribute):
            del self.node.attribute[:]
            self.node.attribute.extend(kept)

    def has(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self.node.input) and bool(self.node.input[index])

    def value(self, index: int) -> np.ndarray | None:
        """A constant input, or None where it is absent or computed."""
        tensor = self.scope.constants.get(self.node.input[index]) if self.has(index) else None
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
            return None
        array: np.ndarray = numpy_helper.to_array(tensor)
        return array

    def shape(self, index: int = 0) -> Shape | None:
        """Shape of an input, as far as it is known."""
        return self.shape_of(self.node.input[index])

    def sizes(self, index: int = 0) -> tuple[int, ...]:
        """Shape of an input.

        Raises:
            Refused: it is not known.
        """
        return self.sizes_of(self.node.input[index])

    def output_shape(self) -> Shape | None:
        """Shape of the first output, as far as it is known."""
        return self.shape_of(self.node.output[0])

    def size(self, axis: int) -> int | None:
        """Size of the first input on one axis, or None."""
        shape = self.shape()
        return None if shape is None else shape[axis]

    def elem_type(self, index: int = 0) -> int:
        """Type of an input's elements, a number from ``TensorProto``.

        Raises:
            Refused: it is not known.
        """
        return self.elem_type_of(self.node.input[index])

    def elem_type_of(self, name: str) -> int:
        """As `elem_type`, of any tensor."""
        entry = self.scope.types.get(name)
        if entry is None or not entry.tensor_type.elem_type:
            raise Refused("has an input whose type is not known")
        return int(entry.tensor_type.elem_type)

    def axes(self) -> list[int] | None:
        """Axes from the attribute or the second input, negative ones only where no rank is known.

        None where there are none: neither given nor in an empty list.

        Raises:
            Refused: the axes are computed.
        """
        axes = self.attribute("axes", ())
        if self.has(1):
            values = self.value(1)
            if values is None:
                raise Refused("has axes that are not constant")
            axes = values.reshape(-1).tolist()
        shape = self.shape()
        return [axis if shape is None else axis % len(shape) for axis in axes] or None

    def constant(self, values: np.ndarray | Sequence[int]) -> str:
        """Puts a constant before the node (int64 where it is a sequence); returns its name.

        The same constant is put there once.
        """
        array = np.asarray(values, None if isinstance(values, np.ndarray) else np.int64)
        # A node and no initializer: bodies of control flow see it, and so does an importer that
        # takes initializers for parameters.
        tensor = numpy_helper.from_array(array)
        key = tensor.SerializeToString()
        if key not in self._constants:
            self._constants[key] = self.add("Constant", [], value=tensor)
        return self._constants[key]

    def filled(self, value: float, *shape: int) -> str:
        """Puts a constant of the first input's type before the node; returns its name."""
        count = math.prod(shape)
        tensor = helper.make_tensor("", self.elem_type(), shape, [value] * count)
        return self.add("Constant", [], value=tensor)

    def add(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Puts a node with one output before this one; returns the output's name."""
        return self.add_many(operator, inputs, 1, **attributes)[0]

    def add_many(
        self, operator: str, inputs: Sequence[str], count: int, **attributes: Any
    ) -> list[str]:
        """Puts a node with ``count`` outputs before this one; returns the outputs' names."""
        stem = next(name for name in self.node.output if name)
        names = [self.scope.fresh(f"{stem}_{operator}") for _ in range(count)]
        # No name: ONNX Runtime names new tensors after nodes, and fails if one has that name.
        node = helper.make_node(operator, inputs, names, **attributes)
        self.before.append(node)
        self.scope.learn(node)
        return names

    def set_input(self, index: int, name: str) -> None:
        """Sets an optional input."""
        while len(self.node.input) <= index:
            self.node.input.append("")
        self.node.input[index] = name

    def become(self, operator: str, inputs: Sequence[str], **attributes: Any) -> None:
        """Makes the node another one with the same name and outputs."""
        new = helper.make_node(operator, inputs, [], **attributes)
        self.node.op_type = operator
        del self.node.input[:]
        self.node.input.extend(new.input)
        del self.node.attribute[:]
        self.node.attribute.extend(new.attribute)
        self.node.ClearField("domain")

    def replace(self, nodes: Sequence[onnx.NodeProto]) -> None:
        """Puts nodes in place of this one; one of them gives each of its outputs."""
        *others, last = nodes
        name = self.node.name
        self.before += others
        self.node.CopyFrom(last)
        self.node.name = name

    def sizes_of(self, name: str) -> tuple[int, ...]:
        """As `sizes`, of any tensor."""
        shape = self.shape_of(name)
        if shape is None or None in shape:
            raise Refused("has an input whose shape is not known")
        return tuple(size for size in shape if size is not None)

    def shape_of(self, name: str) -> Shape | None:
        """Shape of any tensor, as far as it is known."""
        entry = self.scope.types.get(name)
        if entry is None or not entry.tensor_type.HasField("shape"):
            return None
        return tuple(
            dim.dim_value if dim.HasField("dim_value") else None
            for dim in entry.tensor_type.shape.dim
        )


def constant_value(node: onnx.NodeProto) -> TensorProto | None:
    """The tensor of a Constant, or None where it is text or sparse."""
    for entry in node.attribute:
        value = helper.get_attribute_value(entry)
        if entry.name == "value":
            return entry.t
        if entry.name in {"value_int", "value_ints"}:
            return numpy_helper.from_array(np.array(value, np.int64))
        if entry.name in {"value_float", "value_floats"}:
            return numpy_helper.from_array(np.array(value, np.float32))
    return None
