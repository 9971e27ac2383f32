"""Puts copies of a body's nodes, with names of their own, before a node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx

from tvmkd.export.graph import bodies
from tvmkd.export.site import Site


def copies(
    site: Site, nodes: Iterable[onnx.NodeProto], known: dict[str, str]
) -> list[onnx.NodeProto]:
    """Copies nodes; every name that they define, in bodies of control flow too, is new.

    Args:
        site: whose scope the copies belong to; it stays as it is.
        nodes: in order.
        known: what names from outside are called; the names of the outputs are added to it.
    """
    stem = next(name for name in site.node.output if name)
    result = []
    for node in nodes:
        new = onnx.NodeProto()
        new.CopyFrom(node)
        _rename(new, known, site, stem)
        result.append(new)
    return result


def _rename(node: onnx.NodeProto, known: dict[str, str], site: Site, stem: str) -> None:
    for index, name in enumerate(node.input):
        node.input[index] = known.get(name, name)
    for body in bodies(node):
        inner = dict(known)
        for entry in (*body.input, *body.initializer):
            inner[entry.name] = site.scope.fresh(f"{stem}_{entry.name}")
            entry.name = inner[entry.name]
        for each in body.node:
            _rename(each, inner, site, stem)
        for entry in body.output:
            entry.name = inner.get(entry.name, entry.name)
        del body.value_info[:]
    for index, name in enumerate(node.output):
        if name:
            known.setdefault(name, site.scope.fresh(f"{stem}_{name}"))
            node.output[index] = known[name]
    node.ClearField("name")


def bind_attributes(
    nodes: Iterable[onnx.NodeProto], values: Mapping[str, onnx.AttributeProto]
) -> None:
    """Puts a function's attributes in place of the references to them; absent ones are dropped."""
    for node in nodes:
        kept = []
        for entry in node.attribute:
            if entry.ref_attr_name:
                value = values.get(entry.ref_attr_name)
                if value is None:
                    continue
                name = entry.name
                entry.CopyFrom(value)
                entry.name = name
            kept.append(entry)
        if len(kept) < len(node.attribute):
            copied = [onnx.AttributeProto.FromString(each.SerializeToString()) for each in kept]
            del node.attribute[:]
            node.attribute.extend(copied)
        for body in bodies(node):
            bind_attributes(body.node, values)
