"""LSTM, GRU and RNN: one matrix product for the inputs of all steps, then the steps one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from tvmkd.export.rewrites.activations import Activation, activations
from tvmkd.export.rewrites.plain import (
    concat,
    constant_like,
    cut,
    give,
    parts,
    reshape,
    squeeze,
    transpose,
    unsqueeze,
)
from tvmkd.export.site import Refused, Site

# Each step is a few kernels of its own: beyond this, compiling takes longer than anyone waits.
MAX_STEPS = 512
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
OPERATORS = frozenset(_GATES)
_DEFAULTS = {
    "LSTM": ["Sigmoid", "Tanh", "Tanh"],
    "GRU": ["Sigmoid", "Tanh"],
    "RNN": ["Tanh"],
}


@dataclass(frozen=True)
class _Cell:
    """One direction: its weights as they are multiplied, ``h @ recurrent``.

    Attributes:
        recurrent: [hidden, gates * hidden]; of a GRU that resets first, the gates z and r, and h.
        bias: of the recurrent product, [gates * hidden], where it stays apart (GRU).
        peephole: LSTM's [hidden] for the gates i, o and f.
    """

    site: Site
    hidden: int
    functions: Sequence[Activation]
    recurrent: Sequence[str]
    bias: str
    peephole: Sequence[str]

    def clipped(self, data: str) -> str:
        limit = self.site.attribute("clip")
        if not limit:
            return data
        bounds = [constant_like(self.site, value, data) for value in (-limit, limit)]
        return self.site.add("Clip", [data, *bounds])

    def gate(self, data: str, index: int, count: int = 1) -> str:
        return cut(self.site, data, 1, index * self.hidden, (index + count) * self.hidden)


def is_usual(site: Site) -> bool:
    """Whether a kernel for whole layers may compute the node as it is: float32, constant weights,
    ONNX's default activations (or an RNN's Relu), and all steps of all sequences.
    """
    node, kind = site.node, site.node.op_type
    sizes = site.shape()
    if sizes is None or None in sizes or 0 in sizes or site.elem_type() != TensorProto.FLOAT:
        return False
    steps = sizes[1 if site.attribute("layout", 0) else 0] or 0
    if site.has(4):
        lengths = site.value(4)
        if lengths is None or (lengths < steps).any():
            return False
    weights = [name for name in node.input[1:4] if name]
    if any(name not in site.scope.constants for name in weights):
        return False
    if site.has(7) or any(site.attribute(name, 0) for name in ("clip", "input_forget", "layout")):
        return False
    given = [name.decode().lower() for name in site.attribute("activations") or ()]
    usual = [name.lower() for name in _DEFAULTS[kind]]
    forms = [usual, ["relu"]] if kind == "RNN" else [usual]
    return not given or any(given in (form, 2 * form) for form in forms)


def recurrent(site: Site) -> None:
    """Unrolls the operator over its steps, ``X`` being [steps, batch, features].

    https://onnx.ai/onnx/operators/onnx__LSTM.html

    Raises:
        Refused: it has more than `MAX_STEPS` steps, or an unknown activation.
    """
    node, kind = site.node, site.node.op_type
    first = site.attribute("layout", 0)
    data = transpose(site, node.input[0], 1, 0, 2) if first else node.input[0]
    steps, batch, _ = site.sizes_of(data)
    directions, _, hidden = site.sizes(2)
    if steps * directions > MAX_STEPS:
        raise Refused(f"has {steps * directions} steps, more than {MAX_STEPS}")
    functions = activations(site, _DEFAULTS[kind], directions)
    masks = _masks(site, steps, batch)
    backward = [site.attribute("direction", "forward") == "reverse", True]
    every, last = [], []
    for direction in range(directions):
        cell, projected = _cell(site, data, direction, hidden, functions[direction])
        states = [
            _initial(site, index, direction, batch, hidden, data, bool(first))
            for index in ((5, 6) if kind == "LSTM" else (5,))
        ]
        inputs = [squeeze(site, part, 0) for part in parts(site, projected, 0, [1] * steps)]
        outputs = [""] * steps
        order = range(steps)[::-1] if backward[direction] else range(steps)
        for step in order:
            new = _STEPS[kind](cell, inputs[step], states)
            outputs[step] = new[0]
            if masks:
                zero = constant_like(site, 0, data)
                outputs[step] = site.add("Where", [masks[step], new[0], zero])
                new = [
                    site.add("Where", [masks[step], one, old])
                    for one, old in zip(new, states, strict=True)
                ]
            states = new
        if node.output[0]:
            rows = [unsqueeze(site, name, 0, 1) for name in outputs]
            every.append(concat(site, rows, 0))
        last.append([unsqueeze(site, state, 0) for state in states])
    results = [concat(site, every, 1) if every else ""]
    results += [concat(site, names, 0) for names in zip(*last, strict=True)]
    if first:
        results[0] = transpose(site, results[0], 2, 0, 1, 3) if results[0] else ""
        results[1:] = [transpose(site, name, 1, 0, 2) for name in results[1:]]
    give(site, *results)


def _masks(site: Site, steps: int, batch: int) -> list[str]:
    """For each step, which sequences have it: [batch, 1]; none where all have all."""
    if not site.has(4):
        return []
    lengths = site.value(4)
    if lengths is not None and (lengths >= steps).all():
        return []
    column = reshape(site, site.node.input[4], [batch, 1])
    return [
        site.add("Less", [site.constant(np.array(step, np.int32)), column]) for step in range(steps)
    ]


def _initial(
    site: Site, index: int, direction: int, batch: int, hidden: int, data: str, first: bool
) -> str:
    if not site.has(index):
        return constant_like(site, np.zeros((batch, hidden)), data)
    axis = 1 if first else 0
    return squeeze(site, cut(site, site.node.input[index], axis, direction, direction + 1), axis)


def _cell(
    site: Site, data: str, direction: int, hidden: int, functions: Sequence[Activation]
) -> tuple[_Cell, str]:
    """One direction, and its inputs times its weights: [steps, batch, gates * hidden]."""
    node, gates = site.node, _GATES[site.node.op_type]
    mine = [
        squeeze(site, cut(site, name, 0, direction, direction + 1), 0) if name else ""
        for name in (
            node.input[1],
            node.input[2],
            *(node.input[i] if site.has(i) else "" for i in (3, 7)),
        )
    ]
    weights, back, bias, peephole = mine
    projected = site.add("MatMul", [data, transpose(site, weights, 1, 0)])
    apart = ""
    if bias:
        width = gates * hidden
        ours, other = (cut(site, bias, 0, at, at + width) for at in (0, width))
        if site.node.op_type == "GRU" and site.attribute("linear_before_reset", 0):
            apart = other
        else:
            ours = site.add("Add", [ours, other])
        projected = site.add("Add", [projected, ours])
    peepholes = (
        [cut(site, peephole, 0, at * hidden, (at + 1) * hidden) for at in range(3)]
        if peephole
        else []
    )
    back = transpose(site, back, 1, 0)
    whole = node.op_type != "GRU" or site.attribute("linear_before_reset", 0)
    recurrent = [back] if whole else parts(site, back, 1, [2 * hidden, hidden])
    return _Cell(site, hidden, functions, recurrent, apart, peepholes), projected


def _rnn(cell: _Cell, given: str, states: Sequence[str]) -> list[str]:
    site = cell.site
    total = site.add("Add", [given, site.add("MatMul", [states[0], cell.recurrent[0]])])
    return [cell.functions[0](site, cell.clipped(total))]


def _gru(cell: _Cell, given: str, states: Sequence[str]) -> list[str]:
    """Gates z, r and h."""
    site, (bend, last) = cell.site, cell.functions
    state = states[0]
    after = bool(site.attribute("linear_before_reset", 0))
    product = site.add("MatMul", [state, cell.recurrent[0]])
    if cell.bias:
        product = site.add("Add", [product, cell.bias])
    update, reset = (
        bend(site, cell.clipped(site.add("Add", [cell.gate(given, at), cell.gate(product, at)])))
        for at in (0, 1)
    )
    if after:
        hidden_part = site.add("Mul", [reset, cell.gate(product, 2)])
    else:
        hidden_part = site.add("MatMul", [site.add("Mul", [reset, state]), cell.recurrent[1]])
    new = last(site, cell.clipped(site.add("Add", [cell.gate(given, 2), hidden_part])))
    # (1 - z) * new + z * state, in one product less.
    change = site.add("Mul", [update, site.add("Sub", [state, new])])
    return [site.add("Add", [new, change])]


def _lstm(cell: _Cell, given: str, states: Sequence[str]) -> list[str]:
    """Gates i, o, f and c."""
    site, (bend, inner, outer) = cell.site, cell.functions
    state, memory = states
    total = site.add("Add", [given, site.add("MatMul", [state, cell.recurrent[0]])])
    gates = [cell.gate(total, at) for at in range(4)]

    def looked(gate: str, at: int, seen: str) -> str:
        if cell.peephole:
            gate = site.add("Add", [gate, site.add("Mul", [seen, cell.peephole[at]])])
        return bend(site, cell.clipped(gate))

    enter = looked(gates[0], 0, memory)
    if site.attribute("input_forget", 0):
        keep = site.add("Sub", [constant_like(site, 1, enter), enter])
    else:
        keep = looked(gates[2], 2, memory)
    proposal = inner(site, cell.clipped(gates[3]))
    kept, entered = site.add("Mul", [keep, memory]), site.add("Mul", [enter, proposal])
    new = site.add("Add", [kept, entered])
    leave = looked(gates[1], 1, new)
    return [site.add("Mul", [leave, outer(site, new)]), new]


_STEPS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
