"""Cuts nodes that a compiler cannot import out of a model, as models of their own.

In the remaining model one node stands for each part. A part also contains the nodes on both sides
of a tensor that compilers cannot exchange with it: its shape depends on the data, or it is a
sequence or text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from tvmkd.base.onnx_runtime import numpy_dtype, open_session
from tvmkd.export import walk
from tvmkd.export.graph import bodies
from tvmkd.export.subgraph import reads

OPERATOR = "TvmkdHandedOver"
"""The operator of the node that stands for a part; its attribute ``part`` is the part's index."""

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Fact:
    """What ONNX Runtime knows of a tensor before it runs.

    Attributes:
        dtype: numpy's name of the type of its elements.
        shape: None for a size that depends on the data; None as a whole if the rank does.
    """

    dtype: str
    shape: Shape | None

    @property
    def fixed(self) -> bool:
        """Whether the shape is known."""
        return self.shape is not None and None not in self.shape


@dataclass(frozen=True)
class Part:
    """A part of a model for another engine.

    Attributes:
        model: the part, serialised, with its weights.
        inputs: their names.
        outputs: by name.
        operators: how many nodes of each operator.
    """

    model: bytes
    inputs: tuple[str, ...]
    outputs: Mapping[str, Fact]
    operators: Mapping[str, int]


def facts(model: onnx.ModelProto) -> dict[str, Fact]:
    """What is known of each tensor of the main graph; others than tensors of numbers are left out.

    Raises:
        InputError: ONNX Runtime cannot load the model.
    """
    every = onnx.ModelProto()
    every.CopyFrom(model)
    made = [name for node in model.graph.node for name in node.output if name]
    del every.graph.output[:]
    every.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    session = open_session(every.SerializeToString(), threads=1, optimize=False)
    typed = {entry.name: entry.type for entry in _inferred(model)}
    found = {}
    for entry in (*session.get_inputs(), *session.get_outputs()):
        # ONNX Runtime gives [] for a scalar and for a rank that it does not know.
        kind = typed.get(entry.name, onnx.TypeProto()).tensor_type
        known = bool(entry.shape) or (kind.HasField("shape") and not kind.shape.dim)
        dtype = numpy_dtype(entry.type)
        if not _numbers(dtype):
            continue
        sizes = tuple(size if isinstance(size, int) else None for size in entry.shape)
        found[entry.name] = Fact(dtype, sizes if known else None)
    return found


def _numbers(dtype: str) -> bool:
    """Whether compilers have this type of elements, which sequences and text are not."""
    try:
        return np.dtype(dtype).kind in "biuf"
    except TypeError:
        return False


def _inferred(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    try:
        graph = onnx.shape_inference.infer_shapes(walk.skeleton(model)).graph
    except Exception:  # C++ errors of several kinds; ONNX Runtime's facts are left
        graph = model.graph
    return [*graph.input, *graph.value_info, *graph.output]


def positions(model: onnx.ModelProto, why: Callable[[onnx.NodeProto], str]) -> dict[int, str]:
    """Where the nodes of the main graph are that cannot stay, and the reason.

    Args:
        model: the model.
        why: the reason for a node, also for those in the bodies of control flow; empty: it can.
    """

    def reason(node: onnx.NodeProto) -> str:
        inside = (reason(each) for body in bodies(node) for each in body.node)
        return why(node) or next(filter(None, inside), "")

    found = {at: reason(node) for at, node in enumerate(model.graph.node)}
    return {at: text for at, text in found.items() if text}


def changing(model: onnx.ModelProto, known: Mapping[str, Fact]) -> set[int]:
    """Where the nodes are that give a tensor whose shape depends on the data."""
    return {
        at
        for at, node in enumerate(model.graph.node)
        if node.op_type != "Constant"
        and any(name and not _plain(name, known) for name in node.output)
    }


def cut(
    model: onnx.ModelProto, picked: Collection[int], known: Mapping[str, Fact]
) -> tuple[onnx.ModelProto, list[Part]]:
    """Cuts parts out; returns the remaining model, with one node for each part, and the parts.

    Args:
        model: with fixed input sizes; its nodes are in topological order.
        picked: positions of the nodes that are handed over; those that must go with them follow.
        known: of its tensors: see `facts`.
    """
    graph = model.graph
    picked = _spread(graph, set(picked), known)
    order = _levels(graph, picked)
    left = onnx.ModelProto()
    left.CopyFrom(model)
    del left.graph.node[:]
    parts: list[Part] = []
    for level in range(max(order) + 1 if order else 0):
        here = [at for at, value in enumerate(order) if value == level]
        left.graph.node.extend(graph.node[at] for at in here if at not in picked)
        inside = [at for at in here if at in picked]
        if not inside:
            continue
        part = _part(model, inside, known)
        node = onnx.helper.make_node(OPERATOR, part.inputs, list(part.outputs), part=len(parts))
        left.graph.node.append(node)
        parts.append(part)
    used = {name for node in left.graph.node for name in reads(node)}
    used |= {entry.name for entry in graph.output}
    kept = [n for n in left.graph.node if n.op_type != "Constant" or used.intersection(n.output)]
    del left.graph.node[:]
    left.graph.node.extend(kept)
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    del left.graph.initializer[:]
    left.graph.initializer.extend(weights)
    return left, parts


def _plain(name: str, known: Mapping[str, Fact]) -> bool:
    """Whether a compiler can take a tensor, or give it."""
    fact = known.get(name)
    return fact is not None and fact.fixed


def _spread(graph: onnx.GraphProto, picked: set[int], known: Mapping[str, Fact]) -> set[int]:
    """``picked`` and the nodes that must go with them."""
    maker = {
        name: at
        for at, node in enumerate(graph.node)
        if node.op_type != "Constant"  # which a part has a copy of
        for name in node.output
        if name
    }
    weights = {tensor.name for tensor in graph.initializer}
    links = [
        (maker[name], at)
        for at, node in enumerate(graph.node)
        for name in reads(node)
        if name in maker and name not in weights and not _plain(name, known)
    ]
    count = -1
    while count != len(picked):
        count = len(picked)
        for pair in links:
            if picked.intersection(pair):
                picked.update(pair)
    return picked


def _levels(graph: onnx.GraphProto, picked: set[int]) -> list[int]:
    """Numbers nodes so that the part of a level reads only what lower levels and nodes of its own
    level give, and these read nothing of the part: no part then waits for itself.
    """
    maker = {name: at for at, node in enumerate(graph.node) for name in node.output if name}
    levels: list[int] = []
    for at, node in enumerate(graph.node):
        before = [maker[name] for name in reads(node) if name in maker]
        levels.append(
            max((levels[b] + (b in picked and at not in picked) for b in before), default=0)
        )
    return levels


def _part(model: onnx.ModelProto, inside: Collection[int], known: Mapping[str, Fact]) -> Part:
    graph = model.graph
    nodes = [graph.node[at] for at in sorted(inside)]
    needed = {name for node in nodes for name in reads(node)}
    # Constants are copied, since ONNX Runtime infers shapes from them.
    nodes = [
        *(
            node
            for at, node in enumerate(graph.node)
            if at not in inside and node.op_type == "Constant" and node.output[0] in needed
        ),
        *nodes,
    ]
    made = {name for node in nodes for name in node.output if name}
    read = dict.fromkeys(name for node in nodes for name in reads(node) if name not in made)
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    constants = {tensor.name for tensor in weights}
    inputs = [name for name in read if name not in constants]
    wanted = {entry.name for entry in graph.output}
    for at, node in enumerate(graph.node):
        if at not in inside:
            wanted.update(reads(node))
    outputs = [name for at in sorted(inside) for name in graph.node[at].output if name in wanted]
    part = onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes,
            "part",
            [_entry(name, known[name]) for name in inputs],
            [_entry(name, known[name]) for name in outputs],
            weights,
        ),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        functions=model.functions,
    )
    operators = Counter(graph.node[at].op_type for at in inside)
    return Part(
        part.SerializeToString(),
        tuple(inputs),
        {name: known[name] for name in outputs},
        dict(operators.most_common()),
    )


def _entry(name: str, fact: Fact) -> onnx.ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(fact.dtype))
    return onnx.helper.make_tensor_value_info(name, kind, fact.shape)
