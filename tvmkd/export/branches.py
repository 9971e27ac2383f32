"""Draws the samples of a model, with some for which it takes each branch of its ``If`` nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tvmkd.base.errors import InputError
from tvmkd.base.onnx_runtime import open_session
from tvmkd.export.samples import FLAVOURS, Sample, Sampler
from tvmkd.export.subgraph import prefix, reads

TRIES, SECONDS = 32, 20.0
"""How many samples are tried for the branches, and for how much CPU time."""


def drawn(
    path: Path, model: onnx.ModelProto, inputs: Sequence[Mapping[str, Any]], seed: int = 0
) -> tuple[list[list[Sample]], Iterator[list[Sample]]]:
    """Samples of a model, each as the choices for it: those that no check leaves out, and others.

    Args:
        path: of the model, for external weights.
        model, inputs, seed: as `tvmkd.export.samples.Sampler` takes them.
    """
    sampler = Sampler(model, inputs, seed)
    choices = [*sampler.samples()]
    known = [first for first, *_ in choices]
    choices += [[sample] for sample in covering(path, model, sampler, known)]
    return choices, sampler.spare()


def covering(
    path: Path, model: onnx.ModelProto, sampler: Sampler, known: Sequence[Sample]
) -> list[Sample]:
    """Samples that take branches which ``known`` do not take, at most one for each branch.

    Only the part of the model that computes the conditions runs. A branch that none of `TRIES`
    samples takes, or none within `SECONDS`, is left: the condition may be constant.

    Args:
        path: of the model, for external weights.
        model: the model; the ``If`` nodes of its main graph count.
        sampler: of the model.
        known: samples that are used anyway.
    """
    conditions = [node.input[0] for node in model.graph.node if node.op_type == "If"]
    conditions = [name for name in dict.fromkeys(conditions) if _varies(model.graph, name)]
    if not conditions:
        return []
    outputs = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.BOOL, None) for name in conditions
    ]
    part = prefix(model, outputs)
    takes = {entry.name for entry in part.graph.input}
    try:
        session = open_session(part.SerializeToString(), threads=1, weights=path.parent)
    except InputError:
        return []

    def taken(sample: Sample) -> set[tuple[str, bool]]:
        feed = {name: array for name, array in sample.items() if name in takes}
        try:
            values = session.run(None, feed)
        except Exception:  # a sample that ONNX Runtime refuses takes no branch
            return set()
        return {
            (name, bool(np.asarray(value).ravel()[0]))
            for name, value in zip(conditions, values, strict=True)
        }

    seen: set[tuple[str, bool]] = set()
    for sample in known:
        seen |= taken(sample)
    found: list[Sample] = []
    begin = time.thread_time()  # with one thread, ONNX Runtime computes in this one
    for sample in _tries(sampler):
        if len(seen) == 2 * len(conditions) or time.thread_time() - begin > SECONDS:
            break
        new = taken(sample) - seen
        if new:
            seen |= new
            found.append(sample)
    return found


def _varies(graph: onnx.GraphProto, name: str) -> bool:
    """Whether values of the inputs decide about a tensor; their shapes alone are fixed."""
    makers = {made: node for node in graph.node for made in node.output}
    inputs = {entry.name for entry in graph.input} - {entry.name for entry in graph.initializer}
    left, seen = [name], {name}
    while left:
        tensor = left.pop()
        if tensor in inputs:
            return True
        node = makers.get(tensor)
        if node is not None and node.op_type not in ("Shape", "Size"):
            new = set(reads(node)) - seen
            seen |= new
            left += new
    return False


def _tries(sampler: Sampler) -> Iterator[Sample]:
    for number in range(TRIES):
        sample = sampler.draw(FLAVOURS[number % len(FLAVOURS)], number // 2)
        # Thresholds are often on means and sums: of both signs, near 0, and far from it.
        scale = (1.0, -1.0, 0.0, 30.0, -30.0)[number % 5]
        yield {
            name: (array * scale).astype(array.dtype) if array.dtype.kind == "f" else array
            for name, array in sample.items()
        }
