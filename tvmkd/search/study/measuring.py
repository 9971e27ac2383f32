"""Measures networks of a study on the target: those that may be on its front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.search.front import accuracy_of, usable
from tvmkd.search.latency.prediction import Measured
from tvmkd.search.results import Point
from tvmkd.search.study.networks import Candidate

if TYPE_CHECKING:
    from tvmkd.search.study.bench import Bench


def near_front(score: float, low: float, known: Sequence[Point], *, maximize: bool = True) -> bool:
    """Whether a network may be on the front: no other is as good and faster for certain.

    Args:
        score: of the network.
        low: the least latency that its prediction allows.
        known: the other points.
        maximize: whether a higher score is better.
    """
    for other in usable(known):
        gain = accuracy_of(other) - score if maximize else score - accuracy_of(other)
        if gain >= 0 and worst(other) <= low:
            return False
    return True


def worst(point: Point) -> float:
    """The greatest latency that a usable point may have."""
    found = point.measured
    if found is None:
        found = point.predicted if point.high is None else point.high
    assert found is not None
    return found


def wanted(bench: Bench, score: float, low: float) -> bool:
    """Whether a network of a study is to be measured."""
    if not bench.plan.search.measure:
        return False
    return near_front(score, low, bench.points(), maximize=bench.goal.maximize)


def measure(bench: Bench, checkpoint: Path, candidate: Candidate) -> Measured:
    """Exports a trained network and times it on the target.

    On this machine no other process of the search trains meanwhile.

    Raises:
        InputError: it cannot be exported or built.
        MissingError: no board answers.
    """
    from tvmkd.export import export

    spec = candidate.cfg.student.model
    own = spec if ":" in spec and not spec.startswith("torchvision:") else None
    onnx = checkpoint.with_suffix(".onnx")
    export(
        checkpoint,
        onnx,
        candidate.shape,
        opset=candidate.cfg.export.opset,
        model=own,
        search_in=bench.plan.search_in,
    )
    if candidate.cfg.tune.tracker != "local":
        return bench.latency.measure(onnx)
    with bench.quiet.alone():
        return bench.latency.measure(onnx)


def tell_once(bench: Bench, line: str) -> None:
    """Tells that a board did not answer; the same line only once, until one answers."""
    if line != bench.away:
        bench.note(f"warning: not measured: {line}; its predicted latency stands, later ones try")
        bench.away = line
