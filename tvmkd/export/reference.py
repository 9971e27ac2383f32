"""ONNX Runtime's outputs for some samples, and how far rounding moves them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from tvmkd.base import tolerance
from tvmkd.base.agreement import Output
from tvmkd.base.errors import InputError
from tvmkd.base.onnx_runtime import numpy_dtype, open_session
from tvmkd.base.text import first_line
from tvmkd.export.graph import nodes
from tvmkd.export.noisy import noisy
from tvmkd.export.outputs import OutputFacts, facts_of, sources
from tvmkd.export.samples import Sample
from tvmkd.export.widen import widen

if TYPE_CHECKING:
    import onnxruntime


RANDOM = {
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
    *("Multinomial", "Bernoulli"),
}


def run(
    path: Path, model: onnx.ModelProto, choices: Iterable[Sequence[Sample]]
) -> tuple[list[Sample], list[Output]]:
    """Runs a model in ONNX Runtime: optimised, as it stands, with noise, and in float64 if it can.

    Args:
        path: the ONNX file.
        model: the same, without its external weights.
        choices: for each sample a list of samples; the first that ONNX Runtime accepts is used.

    Returns:
        the samples, and each output with its runs on them.

    Raises:
        InputError: ONNX Runtime cannot load the file, or accepts no sample.
    """
    facts = facts_of(model)
    given = {entry.name for entry in model.graph.input}
    extra = [name for name in sources(facts) if name not in given]
    names = [fact.name for fact in facts]
    _refuse_random(path, model)
    first = open_session(path, threads=1, exact=True)
    others = _others(path, model, extra)
    samples: list[Sample] = []
    runs: dict[str, list[list[np.ndarray]]] = {name: [] for name in (*names, *extra)}
    reason = "no samples were given"
    for alternatives in choices:
        for sample in alternatives:
            try:
                wanted = first.run(names, dict(sample))
            except Exception as error:  # its exceptions have no common base class
                reason = first_line(error)
                continue
            samples.append(sample)
            found = [dict(zip(names, wanted, strict=True))]
            found += [each for each in (_run(s, runs, sample) for s in others) if each]
            for name, stored in runs.items():
                stored.append([each[name] for each in found if name in each])
            break
    if not samples:
        raise InputError(
            f"{path}: ONNX Runtime accepts none of the inputs ({reason[:120]}); give real ones "
            "with --inputs FILE.npz"
        )
    for name in given.intersection(sources(facts)):
        runs[name] = [[sample[name]] for sample in samples]

    def pointed(fact: OutputFacts) -> Output | None:
        found = runs.get(fact.source, [])
        if not found or not all(found) or found[0][0].dtype.kind != "f":
            return None
        return Output(fact.source, found, tolerance.COMPILED[fact.precision])

    return samples, [
        Output(
            fact.name,
            runs[fact.name],
            tolerance.COMPILED[fact.precision],
            steps=int(fact.quantised),
            channels=fact.precision != "qdq",
            source=pointed(fact),
            axis=fact.axis,
        )
        for fact in facts
    ]


def _refuse_random(path: Path, model: onnx.ModelProto) -> None:
    for node in nodes(model):
        if node.op_type in RANDOM:
            raise InputError(
                f"{path}: {node.op_type} (node {node.name or node.output[0]!r}) draws random "
                "numbers, so no two runs agree; make them an input of the model"
            )


def _others(
    path: Path, model: onnx.ModelProto, extra: Sequence[str]
) -> list[onnxruntime.InferenceSession]:
    """Sessions that differ from ONNX Runtime's best only in rounding; as many as can be opened."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    present = {entry.name for entry in model.graph.output}
    plain.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in extra if name not in present
    )
    sessions = []
    makers: tuple[Callable[[onnx.ModelProto], onnx.ModelProto], ...] = (_same, noisy, widen)
    for make in makers:
        try:
            data = make(plain).SerializeToString()
            sessions.append(open_session(data, threads=1, optimize=False, weights=path.parent))
        except (InputError, ValueError):  # protobuf: over 2 GB
            continue
    return sessions


def _same(model: onnx.ModelProto) -> onnx.ModelProto:
    return model


def _run(
    session: onnxruntime.InferenceSession, names: Iterable[str], sample: Sample
) -> dict[str, np.ndarray]:
    kinds = {entry.name: numpy_dtype(entry.type) for entry in session.get_inputs()}
    feed = {
        name: array.astype(kinds[name]) if array.dtype.kind == "f" else array
        for name, array in sample.items()
        if name in kinds
    }
    try:
        found = session.run(list(names), feed)
    except Exception:  # the noise may make an index leave its range
        return {}
    return dict(zip(names, found, strict=True))
