"""Finds what an ONNX tensor is computed from, and cuts the model that computes it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import onnx


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors that a node reads, those that the bodies of its control flow read included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        bodies = [attribute.g] if attribute.HasField("g") else attribute.graphs
        for body in bodies:
            inside = {entry.name for entry in (*body.input, *body.initializer)}
            for inner in body.node:
                yield from (name for name in reads(inner) if name not in inside)
                inside.update(inner.output)
            yield from (entry.name for entry in body.output if entry.name not in inside)


def ancestors(graph: onnx.GraphProto, names: Collection[str]) -> list[int]:
    """The positions of the nodes that compute ``names``, in the graph's (topological) order."""
    needed, found = set(names), []
    for position in range(len(graph.node) - 1, -1, -1):
        node = graph.node[position]
        if needed.intersection(node.output):
            found.append(position)
            needed.update(reads(node))
    return found[::-1]


def prefix(
    model: onnx.ModelProto, outputs: Sequence[onnx.ValueInfoProto], given: Collection[str] = ()
) -> onnx.ModelProto:
    """The part of a model that computes ``outputs``, with these outputs.

    Args:
        model: with its nodes in topological order.
        outputs: tensors of the main graph.
        given: keep these inputs though nothing reads them.
    """
    graph = model.graph
    kept = ancestors(graph, {entry.name for entry in outputs})
    needed = {name for position in kept for name in reads(graph.node[position])}
    needed |= {entry.name for entry in outputs} | set(given)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.output[:]
    result.graph.node.extend(graph.node[position] for position in kept)
    result.graph.output.extend(outputs)
    for entries in (result.graph.initializer, result.graph.input):
        left = [entry for entry in entries if entry.name in needed]
        del entries[:]
        entries.extend(left)
    return result
