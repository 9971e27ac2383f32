"""Derives from an ONNX graph how exact each output can be, and what its integers mean."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import TensorProto

from tvmkd.export.subgraph import ancestors, reads
from tvmkd.export.walk import inferred

Precision = Literal["float64", "float32", "float16", "bfloat16", "qdq"]

MOVES = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}
"""Operators that keep the values of a tensor and their order in memory."""

_QUANTISERS = {"QuantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}


@dataclass(frozen=True)
class OutputFacts:
    """Facts about one output.

    Attributes:
        name: of the output.
        precision: the coarsest one that it is computed in; ``qdq`` behind a quantiser.
        quantised: a quantiser made its integers.
        source: for indices that ArgMax, ArgMin or TopK made, of any dtype: the tensor that they
            point into.
        axis: of ``source`` that they point along.
    """

    name: str
    precision: Precision
    quantised: bool = False
    source: str = ""
    axis: int = 0


def quantises(node: onnx.NodeProto) -> bool:
    """Whether an operator rounds to integers of a scale, or computes with such integers."""
    return node.op_type in _QUANTISERS or node.op_type.startswith(("QLinear", "DynamicQuant"))


def facts_of(model: onnx.ModelProto) -> list[OutputFacts]:
    """The facts about each output of the main graph, in order."""
    graph = model.graph
    typed = inferred(model, "the model")
    kinds = {
        entry.name: entry.type.tensor_type.elem_type
        for entry in (*typed.value_info, *typed.input, *typed.output)
    }
    kinds.update({entry.name: entry.data_type for entry in graph.initializer})
    makers = {name: node for node in graph.node for name in node.output}
    return [_facts(graph, entry.name, kinds, makers) for entry in graph.output]


def _facts(
    graph: onnx.GraphProto, name: str, kinds: dict[str, int], makers: dict[str, onnx.NodeProto]
) -> OutputFacts:
    nodes = [graph.node[position] for position in ancestors(graph, [name])]
    types = {kinds.get(each) for node in nodes for each in (*reads(node), *node.output)}
    types.add(kinds.get(name))
    precision: Precision = "float64"
    for kind, found in (
        ("float32", TensorProto.FLOAT),
        ("float16", TensorProto.FLOAT16),
        ("bfloat16", TensorProto.BFLOAT16),
    ):
        precision = kind if found in types else precision  # type: ignore[assignment]
    if any(map(quantises, nodes)):
        precision = "qdq"
    maker = _maker(makers, name)
    if maker is None:
        return OutputFacts(name, precision)
    narrow = kinds.get(name) in (TensorProto.INT8, TensorProto.UINT8)
    cast = _maker(makers, name, MOVES | {"Cast"})
    source, axis = "", 0
    if cast is not None and kinds.get(name) != TensorProto.BOOL:
        source, axis = _indexed(cast, name, makers)
    return OutputFacts(name, precision, narrow and quantises(maker), source, axis)


def _maker(
    makers: dict[str, onnx.NodeProto], name: str, moves: Collection[str] = MOVES
) -> onnx.NodeProto | None:
    """The node that made the values of a tensor, behind those that only move them."""
    node = makers.get(name)
    while node is not None and node.op_type in moves:
        node = makers.get(node.input[0])
    return node


def _indexed(
    maker: onnx.NodeProto, name: str, makers: dict[str, onnx.NodeProto]
) -> tuple[str, int]:
    attributes = {each.name: each.i for each in maker.attribute}
    if maker.op_type in ("ArgMax", "ArgMin"):
        return maker.input[0], attributes.get("axis", 0)
    if maker.op_type == "TopK" and len(maker.output) > 1:
        direct = name
        while direct not in maker.output:
            direct = makers[direct].input[0]
        if direct == maker.output[1]:
            return maker.input[0], attributes.get("axis", -1)
    return "", 0


def sources(facts: Sequence[OutputFacts]) -> list[str]:
    """The tensors that outputs point into, each once."""
    return list(dict.fromkeys(each.source for each in facts if each.source))


def last_operator(model: onnx.ModelProto, output: str) -> str:
    """The operator that computes an output; those that only move values do not count."""
    made = {name: node for node in model.graph.node for name in node.output}
    while output in made and made[output].op_type in MOVES:
        output = made[output].input[0]
    return made[output].op_type if output in made else ""
