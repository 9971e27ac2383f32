"""Walks an ONNX graph, including the nodes inside branches, loops and functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Set

import onnx

_SHOWN, _NODES, _LONGEST = 3, 3, 40  # operators, nodes of each, characters of a name
_OURS = {"", "ai.onnx"}


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node of the graph, of the bodies of its control flow, and of its functions."""
    yield from _walk(model.graph.node)
    for function in model.functions:
        yield from _walk(function.node)


def graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph and the bodies of its control flow."""
    yield model.graph
    for node in nodes(model):
        yield from bodies(node)


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """The number of nodes of each operator, the most frequent first.

    A call of a function counts as nothing; the nodes in its body count once.
    """
    own = {(function.domain, function.name) for function in model.functions}
    counts = Counter(
        operator_name(node) for node in nodes(model) if (node.domain, node.op_type) not in own
    )
    return dict(counts.most_common())


def missing(model: onnx.ModelProto, supported: Set[str] | None) -> dict[str, list[str]]:
    """The unsupported operators, each with the names of its nodes (or their first outputs).

    Args:
        model: the model.
        supported: names of supported operators; None: those of the model's ONNX version.
    """
    own = {(function.domain, function.name) for function in model.functions}
    versions = {entry.domain: entry.version for entry in model.opset_import}
    places: dict[str, list[str]] = {}
    for position, node in enumerate(nodes(model)):
        if (node.domain, node.op_type) in own:
            continue
        name = operator_name(node)
        if supported is None:
            # In every version a Constant is data.
            fine = _known(node, versions)
        else:
            fine = name in supported or name == "Constant"
        if not fine:
            where = node.name or next(iter(node.output), f"#{position}")
            places.setdefault(name, []).append(where)
    return dict(sorted(places.items()))


def unsupported(
    model: onnx.ModelProto,
    supported: Set[str] | None,
    advice: str = "rewrite this part of the model",
) -> str | None:
    """One line that names the unsupported operators and their nodes, or None.

    Args:
        model, supported: as `missing` takes them.
        advice: what to do, at the end of the line.
    """
    places = missing(model, supported)
    if not places:
        return None
    parts = []
    for name, where in list(places.items())[:_SHOWN]:
        shown = ", ".join(node[:_LONGEST] for node in where[:_NODES])
        more = f" and {len(where) - _NODES} more" if len(where) > _NODES else ""
        parts.append(f"{name} (nodes: {shown}{more})")
    rest = f" and {len(places) - _SHOWN} more operators" if len(places) > _SHOWN else ""
    kind = "operator" if len(places) == 1 else "operators"
    return f"unsupported {kind} {'; '.join(parts)}{rest}: {advice}"


def _known(node: onnx.NodeProto, versions: dict[str, int]) -> bool:
    domain = "" if node.domain in _OURS else node.domain
    if domain == "com.microsoft":
        # ONNX Runtime's own, which its optimiser writes: most have a plain form.
        return True
    version = versions.get(domain, versions.get("ai.onnx", 0) if not domain else 0)
    try:
        schema = onnx.defs.get_schema(node.op_type, version, domain)
    except onnx.defs.SchemaError:
        return False
    return not schema.deprecated


def operator_name(node: onnx.NodeProto) -> str:
    """``Conv``, or ``domain::Name`` outside ``ai.onnx``."""
    return node.op_type if node.domain in _OURS else f"{node.domain}::{node.op_type}"


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node of control flow holds."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _walk(entries: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in entries:
        yield node
        for body in bodies(node):
            yield from _walk(body.node)
