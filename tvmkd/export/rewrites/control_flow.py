"""Loops whose number of rounds is known, unrolled, and branches whose condition is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from tvmkd.export.rewrites.inlining import copies
from tvmkd.export.rewrites.plain import concat, give, parts, squeeze, unsqueeze
from tvmkd.export.site import OURS, Refused, Site, constant_value
from tvmkd.export.walk import graphs

# Beyond this, compiling takes longer than anyone waits.
MAX_NODES = 8192


def loop(site: Site) -> None:
    """Unrolls a Loop with a constant trip count whose condition stays true.

    https://onnx.ai/onnx/operators/onnx__Loop.html

    Raises:
        Refused: the number of rounds is computed, zero with outputs to collect, or too large.
    """
    body = site.attribute("body")
    count, condition = site.value(0), site.value(1)
    if site.has(1) and condition is None:
        raise Refused("has a condition that is not constant")
    if condition is not None and not condition.all():
        rounds = 0
    elif count is None:
        raise Refused("has a number of iterations that is not constant")
    elif not _stays_true(body):
        raise Refused("has a condition that each iteration computes")
    else:
        rounds = max(int(count.reshape(-1)[0]), 0)
    states = list(site.node.input[2:])
    collected: list[list[str]] = [[] for _ in body.output[1 + len(states) :]]
    if collected and not rounds:
        raise Refused("has 0 iterations, but outputs that collect a value of each")
    _check_size(body, rounds)
    known = _constants(site, body)
    # As it is declared: some exporters give it the shape [1].
    single = len(body.input[0].type.tensor_type.shape.dim) == 1
    true = site.constant(np.array(True))
    for step in range(rounds):
        number = site.constant(np.array([step] if single else step, np.int64))
        names = [number, true, *states]
        _, *outputs = _once(site, body, dict(known), names)
        states = outputs[: len(states)]
        for rows, name in zip(collected, outputs[len(states) :], strict=True):
            rows.append(unsqueeze(site, name, 0))
    give(site, *states, *(concat(site, rows, 0) for rows in collected))


def scan(site: Site) -> None:
    """Unrolls a Scan over its sequences, which have a fixed length.

    https://onnx.ai/onnx/operators/onnx__Scan.html

    Raises:
        Refused: it is of opset 8, empty or too large.
    """
    if site.scope.source < 9:
        raise Refused("is of opset 8, which counts its axes in another way")
    body, count = site.attribute("body"), site.attribute("num_scan_inputs")
    held = len(site.node.input) - count
    states, sequences = list(site.node.input[:held]), list(site.node.input[held:])
    made = len(body.output) - held
    axes = site.attribute("scan_input_axes") or [0] * count
    backward = site.attribute("scan_input_directions") or [0] * count
    out_axes = site.attribute("scan_output_axes") or [0] * made
    out_backward = site.attribute("scan_output_directions") or [0] * made
    shapes = [site.sizes_of(name) for name in sequences]
    rounds = shapes[0][axes[0]]
    if not rounds:
        raise Refused("has sequences of length 0")
    _check_size(body, rounds)
    rows = []
    for name, axis, turned in zip(sequences, axes, backward, strict=True):
        cut = [squeeze(site, part, axis) for part in parts(site, name, axis, [1] * rounds)]
        rows.append(cut[::-1] if turned else cut)
    known = _constants(site, body)
    collected: list[list[str]] = [[] for _ in range(made)]
    for step in range(rounds):
        outputs = _once(site, body, dict(known), [*states, *(row[step] for row in rows)])
        states = outputs[:held]
        for index, name in enumerate(outputs[held:]):
            collected[index].append(unsqueeze(site, name, out_axes[index]))
    results = []
    for index, names in enumerate(collected):
        ordered = names[::-1] if out_backward[index] else names
        # A negative axis counts in the whole output, which has one axis more than each round's.
        results.append(concat(site, ordered, out_axes[index]))
    give(site, *states, *results)


def branch(site: Site) -> None:
    """Puts the branch that is taken in place of an If whose condition is constant."""
    condition = site.value(0)
    if condition is None:
        return
    taken = site.attribute("then_branch" if condition.all() else "else_branch")
    give(site, *_once(site, taken, _constants(site, taken), []))


def _stays_true(body: onnx.GraphProto) -> bool:
    makers = {name: node for node in body.node for name in node.output}
    name = body.output[0].name
    while name in makers and makers[name].op_type in {"Identity", "Cast"}:
        name = makers[name].input[0]
    if name == body.input[1].name:
        return True
    value = next((tensor for tensor in body.initializer if tensor.name == name), None)
    if value is None and name in makers and makers[name].op_type == "Constant":
        value = constant_value(makers[name])
    return value is not None and bool(numpy_helper.to_array(value).all())


def _check_size(body: onnx.GraphProto, rounds: int) -> None:
    count = rounds * sum(len(each.node) for each in graphs(body))
    if count > MAX_NODES:
        raise Refused(f"has {count} nodes in {rounds} iterations, more than {MAX_NODES}")


def _constants(site: Site, body: onnx.GraphProto) -> dict[str, str]:
    """The body's own weights as nodes before the site, by their names in the body."""
    known = {}
    for tensor in body.initializer:
        known[tensor.name] = site.constant(numpy_helper.to_array(tensor))
    for node in body.node:
        if node.op_type == "Constant" and node.domain in OURS:
            value = constant_value(node)
            if value is not None:
                known[node.output[0]] = site.constant(numpy_helper.to_array(value))
    return known


def _once(
    site: Site, body: onnx.GraphProto, known: dict[str, str], inputs: Sequence[str]
) -> list[str]:
    """Puts the body's nodes before the site; returns its outputs' names."""
    known.update(zip((entry.name for entry in body.input), inputs, strict=True))
    nodes = [
        node for node in body.node if not (node.op_type == "Constant" and node.output[0] in known)
    ]
    made = copies(site, nodes, known)
    site.before += made
    for node in made:
        site.scope.learn(node)
    return [known.get(entry.name, entry.name) for entry in body.output]
