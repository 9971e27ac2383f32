"""Brings an ONNX model to a form that a compiler's importer reads rightly, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import onnx
from onnx.inliner import inline_local_functions

from tvmkd.base.text import first_line
from tvmkd.export.folding import fold, foldable
from tvmkd.export.graph import bodies, graphs, nodes
from tvmkd.export.rewrites import lower
from tvmkd.export.rewrites.old_opsets import raise_old
from tvmkd.export.rewrites.recurrent import OPERATORS, is_usual
from tvmkd.export.rewrites.registry import LOWERINGS
from tvmkd.export.site import OURS, Refused, Site

Step = Callable[[onnx.ModelProto], onnx.ModelProto]
Same = Callable[[onnx.ModelProto], str | None]


@dataclass
class Normalised:
    """A normalised model.

    Attributes:
        model: its inputs and outputs have the names, shapes and dtypes of the original.
        steps: what was done.
        left_out: steps that failed or changed the outputs, each with the reason.
    """

    model: onnx.ModelProto
    steps: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


EXACT = {"weights read under one name"}
"""Steps that cannot change a value."""


def read_directly(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which weights are read under their own names, not those of ``Identity`` nodes.

    `torch.onnx.export` writes a weight once and such a node for each equal one.
    """
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer} - {e.name for e in graph.input}
    outputs = {entry.name for entry in graph.output}
    if any(any(bodies(node)) for node in graph.node):  # they may read the copies
        return model
    names: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Identity" and node.domain in OURS and node.output[0] not in outputs:
            source = names.get(node.input[0], node.input[0])
            if source in weights:
                names[node.output[0]] = source
    if not names:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for entries in (result.graph.node, result.graph.value_info):
        kept = [entry for entry in entries if _name(entry) not in names]
        del entries[:]
        entries.extend(kept)
    for node in result.graph.node:
        for at, name in enumerate(node.input):
            if name in names:
                node.input[at] = names[name]
    return result


def _name(entry: onnx.NodeProto | onnx.ValueInfoProto) -> str:
    return entry.name if isinstance(entry, onnx.ValueInfoProto) else next(iter(entry.output), "")


def inline(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without local functions."""
    return inline_local_functions(model) if model.functions else model


def fold_if_needed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with constants folded; itself if there are none to fold."""
    return fold(model) if foldable(model) else model


def is_layer(site: Site) -> bool:
    """Whether a node is a recurrent layer for which importers have a kernel; those that have none
    call `unrolled`.
    """
    try:
        return site.node.op_type in OPERATORS and site.node.domain in OURS and is_usual(site)
    except Refused:
        return False


def inside_bodies(model: onnx.ModelProto) -> bool:
    """Whether there is a recurrent layer in a branch or a loop."""
    inner = (body for node in nodes(model) for body in bodies(node))
    return any(node.op_type in OPERATORS for body in inner for node in body.node)


def unrolled(model: onnx.ModelProto, where: str) -> tuple[onnx.ModelProto, dict[str, str]]:
    """A normalised model without recurrent layers: their steps, one by one.

    Returns:
        the model, itself if it has none, and why a layer stayed, by its node's name.
    """
    if not any(node.op_type in OPERATORS for graph in graphs(model) for node in graph.node):
        return model, {}
    result, reasons = lower(model, where)
    return fold_if_needed(result), reasons


def steps_for(where: str, reasons: dict[str, str]) -> dict[str, Step]:
    """Every step by name, in its order. A step returns its argument if there is nothing to do.

    Args:
        where: names the model in errors.
        reasons: gets why a node could not be lowered, by its name.
    """

    def plain(model: onnx.ModelProto) -> onnx.ModelProto:
        used = {
            ("" if node.domain in OURS else node.domain, node.op_type)
            for graph in graphs(model)
            for node in graph.node
        }
        if not used & LOWERINGS.keys():
            return model
        result, found = lower(model, where, is_layer)
        reasons.clear()
        reasons.update(found)
        return model if result is model or result.graph == model.graph else result

    return {
        "weights read under one name": read_directly,
        "local functions inlined": inline,
        "raised to opset 13": lambda model: raise_old(model, where),
        "constants and fixed shapes folded": fold_if_needed,
        "operators replaced by plain ones": plain,
        "constants folded again": fold_if_needed,
    }


def normalise(model: onnx.ModelProto, same: Same, steps: Mapping[str, Step]) -> Normalised:
    """Applies the steps whose result equals the original.

    All steps are applied and checked together. If that check fails, each step is checked by itself
    and left out if it changes the outputs.

    Args:
        model: with fixed input sizes and its weights inside; stays as it is.
        same: returns None if a model's outputs equal the original's, otherwise the difference.
        steps: by name, in their order.
    """
    result = _apply(model, steps)
    if EXACT.issuperset(result.steps) or same(result.model) is None:
        return result
    careful = Normalised(model)
    for name, step in steps.items():
        one = _apply(careful.model, {name: step})
        careful.left_out.update(one.left_out)
        if not one.steps:
            continue
        difference = None if name in EXACT else same(one.model)
        if difference is None:
            careful.model = one.model
            careful.steps.append(name)
        else:
            careful.left_out[name] = difference
    return careful


def _apply(model: onnx.ModelProto, steps: Mapping[str, Step]) -> Normalised:
    result = Normalised(model)
    for name, step in steps.items():
        try:
            changed = step(result.model)
        except Exception as error:  # libraries raise errors of every class; the step is optional
            result.left_out[name] = first_line(error)
            continue
        if changed is not result.model:
            result.model = changed
            result.steps.append(name)
    return result
