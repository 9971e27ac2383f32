"""Finds the nodes of an exported graph that belong to layers a user names."""

from __future__ import annotations

import ast
from collections.abc import Sequence

import onnx

from tvmkd.base.errors import InputError
from tvmkd.base.text import listing, suggest

_SCOPES = "pkg.torch.onnx.name_scopes"  # what torch's exporter notes on each node


def nodes_of(model: onnx.ModelProto, layers: Sequence[str], where: str) -> list[str]:
    """The names of the nodes that belong to ``layers``.

    Args:
        layers: each the name of a node, or the path of a module: then the nodes that torch's
            exporter noted it on, or that read a weight of it, those of its children included.
        where: names the list in errors, ``[quantize] keep_fp32``.

    Raises:
        InputError: nothing in the graph belongs to a layer; names the nearest one.
    """
    owners = {node.name: _owners(node) for node in model.graph.node}
    found: dict[str, None] = {}
    for layer in layers:
        names = [name for name, paths in owners.items() if layer == name or layer in paths]
        if not names:
            known = sorted({path for paths in owners.values() for path in paths})
            hint = suggest(layer, [*known, *owners]) or f"; there are {listing(known[:12])}"
            raise InputError(f'{where}: nothing in the graph belongs to "{layer}"{hint}')
        found.update(dict.fromkeys(names))
    return list(found)


def _owners(node: onnx.NodeProto) -> set[str]:
    """The paths of the modules that a node belongs to."""
    paths: set[str] = set()
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            # The last one is the node's own name in torch.
            paths.update(path for path in ast.literal_eval(entry.value)[:-1] if path)
    # A folded convolution is noted under its batch normalisation; its weight keeps its own name.
    for name in node.input[1:]:
        parts = name.split(".")
        paths.update(".".join(parts[:count]) for count in range(1, len(parts)))
    return paths
