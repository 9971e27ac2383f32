"""Finds the first operator of a model whose compiled output differs from ONNX Runtime's."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from tvmkd.base.agreement import Arrays, Verdict
from tvmkd.export import weights
from tvmkd.export.subgraph import ancestors, prefix, reads
from tvmkd.export.walk import inferred
from tvmkd.stacks.base import Emit

BUILDS, SECONDS = 6, 60.0
"""How many parts of a model are compiled at most, and when the last one may begin."""
TENSORS = 24
"""How many tensors of one part are compared: fewer builds, and kernels that still fuse."""

Try = Callable[[Path, Sequence[Arrays]], Verdict]
"""Compiles an ONNX file and compares its outputs on some samples."""


@dataclass(frozen=True)
class Found:
    """Where a model goes wrong.

    Attributes:
        operator: its ONNX name.
        node: the node's name, or that of its first output.
        reason: how its output differs.
        exact: everything that it reads agrees; else an operator before it may be wrong too.
    """

    operator: str
    node: str
    reason: str
    exact: bool


def find(
    path: Path,
    output: str,
    sample: Arrays,
    attempt: Try,
    emit: Emit,
    reason: str,
    user_file: Path | None = None,
) -> Found | None:
    """Compiles parts of a model until one operator is left whose output differs.

    A part computes up to `TENSORS` tensors of the model. What a tensor that agrees is computed
    from counts as right. Ends early after `BUILDS` parts or `SECONDS`.

    Args:
        path: the file that the compiler reads.
        output: an output that differs.
        sample: on which it does.
        attempt: compiles a part and compares it.
        emit: gets a ``stage`` event for each part.
        reason: how that output differs.
        user_file: external weights lie beside it; None: beside ``path``.

    Returns:
        the operator; None where the output is not computed by one of the main graph.
    """
    model = weights.load(path, user_file or path)
    graph = model.graph
    typed = inferred(model, str(path))
    kinds = {
        entry.name: entry
        for entry in (*typed.value_info, *typed.output)
        if entry.type.tensor_type.elem_type
    }
    left = _changing(graph, ancestors(graph, [output]))
    if not left:
        return None
    reason, end, most = _bare(reason, output), time.monotonic() + SECONDS, TENSORS
    with tempfile.TemporaryDirectory(prefix="tvmkd-part-") as work:
        for number in range(BUILDS):
            known = [at for at in left[:-1] if graph.node[at].output[0] in kinds]
            if not known or time.monotonic() > end:
                break
            text = f"searching for the first operator that differs: one of {len(left)}"
            emit("stage", {"text": text})
            chosen = _spread(known, most)
            part = prefix(model, [kinds[graph.node[at].output[0]] for at in chosen])
            target = Path(work) / f"part{number}.onnx"
            given = _given(part, sample)
            try:
                onnx.save(part, target)
                verdict = attempt(target, [given])
            except Exception:  # of any compiler; protobuf's over 2 GB
                break
            wrong = {
                at: _bare(result.reason, result.name)
                for at, result in zip(chosen, verdict.outputs, strict=False)
                if not result.agrees
            }
            if not verdict.agrees and not wrong:  # it crashed: which tensor did it?
                most = 1
                if len(chosen) > 1:
                    continue
                wrong = {chosen[0]: verdict.reason}
            last = min(wrong, default=left[-1])
            reason = wrong.get(last, reason)
            left = _without(graph, left, last, [at for at in chosen if at < last])
    node = graph.node[left[-1]]
    return Found(node.op_type, node.name or node.output[0], reason, len(left) == 1)


def _bare(reason: str, name: str) -> str:
    return reason.removeprefix(f'output "{name}" ')


def _given(part: onnx.ModelProto, sample: Arrays) -> Arrays:
    """What a part reads of a sample; its inputs get the sample's sizes."""
    read = {}
    for entry in part.graph.input:
        if entry.name in sample:
            read[entry.name] = sample[entry.name]
            del entry.type.tensor_type.shape.dim[:]
            for size in sample[entry.name].shape:
                entry.type.tensor_type.shape.dim.add(dim_value=size)
    return read


def _without(
    graph: onnx.GraphProto, left: Sequence[int], wrong: int, right: Sequence[int]
) -> list[int]:
    """The nodes that a wrong one is computed from, without those that right ones are."""
    inside = set(ancestors(graph, graph.node[wrong].output))
    done = set(ancestors(graph, [name for at in right for name in graph.node[at].output]))
    return [at for at in left if at in inside and at not in done]


def _changing(graph: onnx.GraphProto, positions: Sequence[int]) -> list[int]:
    """Those nodes whose results depend on the model's inputs."""
    constants = {entry.name for entry in graph.initializer}
    moving = {entry.name for entry in graph.input} - constants
    kept = []
    for position in positions:
        node = graph.node[position]
        if moving.intersection(reads(node)):
            moving.update(node.output)
            kept.append(position)
    return kept


def _spread(positions: Sequence[int], most: int) -> list[int]:
    """At most ``most`` of them, evenly spread, without the ends where not all fit."""
    count = len(positions)
    if count <= most:
        return list(positions)
    return [positions[(number + 1) * count // (most + 1)] for number in range(most)]


LINE = 280
"""Characters of a message, so that it stays one line of a terminal's log."""


def line(path: Path, found: Found | None, reason: str, others: Sequence[str]) -> str:
    """One line: the file, the operator and its node, both values, and what to do.

    Args:
        path: the model.
        found: the operator; None if it is not known.
        reason: how an output differs, where the operator is not known.
        others: stacks that may compute it rightly.
    """
    what = reason
    if found is not None:
        where = f"{found.operator} (node {found.node[-60:]!r})"
        where = where if found.exact else f"in or before {where}"
        what = f"{where}: compiled, its output {found.reason}"
    advice = " or ".join([*(f"--stack {name}" for name in others), "another operator"])
    for place, detail in ((str(path), what), (path.name, what), (path.name[-60:], what[:140])):
        text = f"{place}: {detail}; try {advice}"
        if len(text) <= LINE:
            break
    return text[:LINE]
