"""Which ONNX nodes a kernel computes, found by the values that it writes.

Passes move, fuse and rewrite operators and keep no names. But what a kernel writes is a tensor of
the ONNX model, in the same order or with channels last, unless it is a step inside an operator
(Winograd's transformations). So the model's tensors are computed by ONNX Runtime, each kernel's
output is looked for among them, and the nodes between a kernel's inputs and its output are its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

TOLERANCE = 1e-3
"""How far a value may be off, as a share of the tensor's largest."""

_FINGERPRINT = 3 * TOLERANCE


@dataclass
class Call:
    """One call of a kernel.

    Attributes:
        reads: the memory of its inputs.
        writes: the memory of its output.
        output: what it wrote.
        nodes: names of the nodes that it computes, once they are known.
    """

    reads: Sequence[int]
    writes: int
    output: np.ndarray
    nodes: list[str] = field(default_factory=list)


def node_names(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The nodes by name; one without a name is called after its first output."""
    return {node.name or node.output[0]: node for node in model.graph.node}


def find(
    model: onnx.ModelProto,
    tensors: Mapping[str, np.ndarray],
    calls: Sequence[Call],
) -> None:
    """Sets the nodes of each call.

    A call whose output is no tensor of the model shares the nodes of the call that reads it. Nodes
    stay empty where nothing fits: of equal tensors, the first in the graph's order is taken, and a
    kernel may write more than its last argument.

    Args:
        model: the ONNX model.
        tensors: its inputs and what its nodes compute, by name, for one run of the calls.
        calls: in the order in which they ran.
    """
    names = node_names(model)
    maker = {out: name for name, node in names.items() for out in node.output if out}
    inputs = [entry.name for entry in model.graph.input if entry.name in tensors]
    made = [out for node in names.values() for out in node.output if out in tensors]
    known = _Known([*inputs, *made], tensors)
    taken: set[str] = set()
    owner: dict[int, int] = {}  # memory: the number of the call that wrote it last
    opened: dict[int, list[int]] = defaultdict(list)  # a call without nodes, and what it reads
    for number, call in enumerate(calls):
        inside = _unknown_before(call, owner, opened)
        owner[call.writes] = number
        tensor = known.first(call.output, lambda name: maker.get(name) not in taken)
        if tensor is None:
            opened[number] = inside
            continue
        if tensor not in maker:  # an input in another layout
            continue
        found = _before(tensor, names, maker, taken)
        taken.update(found)
        nodes = [name for name in found if names[name].op_type != "Identity"] or found
        for each in (number, *inside):
            calls[each].nodes = nodes
            opened.pop(each, None)


def _unknown_before(
    call: Call, owner: Mapping[int, int], opened: Mapping[int, list[int]]
) -> list[int]:
    """The calls whose outputs are no tensors of the model and that lead to this one."""
    found: list[int] = []
    for place in call.reads:
        number = owner.get(place, -1)
        if number in opened and number not in found:
            found += [number, *(each for each in opened[number] if each not in found)]
    return found


def _before(
    tensor: str,
    names: Mapping[str, onnx.NodeProto],
    maker: Mapping[str, str],
    taken: Iterable[str],
) -> list[str]:
    """The nodes that lead to a tensor and that no earlier call has computed, in graph order."""
    found: set[str] = set()
    front = [tensor]
    while front:
        name = maker.get(front.pop())
        if name is not None and name not in taken and name not in found:
            found.add(name)
            front += names[name].input
    return [name for name in names if name in found]


class _Known:
    """The model's tensors, by what is the same for every order of their elements."""

    def __init__(self, order: Sequence[str], tensors: Mapping[str, np.ndarray]) -> None:
        self._tensors = tensors
        self._by_size: dict[int, list[str]] = defaultdict(list)
        self._facts: dict[str, np.ndarray] = {}
        for name in order:
            array = tensors[name]
            if array.dtype.kind in "fiu" and array.size > 1:
                self._by_size[array.size].append(name)

    def first(self, output: np.ndarray, free: object) -> str | None:
        """The first tensor with these values that is ``free``; None if there is none."""
        if output.dtype.kind not in "fiu" or output.size < 2:
            return None
        fact = _fingerprint(output)
        for name in self._by_size.get(output.size, ()):
            if not free(name):  # type: ignore[operator]
                continue
            if name not in self._facts:
                self._facts[name] = _fingerprint(self._tensors[name])
            limit = _FINGERPRINT * (fact[-1] + self._facts[name][-1])
            if np.all(np.abs(fact - self._facts[name]) <= limit) and _same(
                output, self._tensors[name]
            ):
                return name
        return None


def _fingerprint(array: np.ndarray) -> np.ndarray:
    """Figures that do not depend on the order: least, largest, mean, spread, largest absolute."""
    values = array.astype(np.float64, copy=False)
    low, high = values.min(), values.max()
    return np.array([low, high, values.mean(), values.std(), max(-low, high)])


def _same(output: np.ndarray, tensor: np.ndarray) -> bool:
    """Whether the values are equal: in this order, or with the tensor's channels last."""
    limit = TOLERANCE * float(np.abs(tensor).max(initial=0.0)) + 1e-30
    views = [tensor]
    if tensor.ndim > 2:
        views.append(np.moveaxis(tensor, 1, -1))
    flat = output.reshape(-1)
    return any(float(np.abs(flat - view.reshape(-1)).max()) <= limit for view in views)
