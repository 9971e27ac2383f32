"""Measures networks of a study on the target: those that may be on its front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.base import user_code
from tvmkd.export.onnx import export
from tvmkd.search.front import accuracy_of, usable
from tvmkd.search.latency.prediction import Latency, Measured
from tvmkd.search.results import Point
from tvmkd.search.study.networks import Candidate

if TYPE_CHECKING:
    from tvmkd.config import Config
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


def can_be(cfg: Config) -> bool:
    """Whether a network's latency is that of one file: with exits it is a mean over images."""
    return cfg.early_exit is None


def measure(bench: Bench, checkpoint: Path, candidate: Candidate, onnx: Path | None) -> Measured:
    """Times a trained network on the target.

    On this machine no other process of the search trains meanwhile.

    Args:
        bench: has the target.
        checkpoint: of the student, exported if there is no file of the network.
        candidate: the network.
        onnx: its file, if it is more than the student.

    Raises:
        InputError: it cannot be exported or built.
        MissingError: no board answers.
    """
    cfg = candidate.cfg
    if onnx is None:
        onnx = checkpoint.with_suffix(".onnx")
        spec = cfg.student.model
        export(
            checkpoint,
            onnx,
            candidate.shape,
            opset=cfg.export.opset,
            model=spec if user_code.is_own(spec) else None,
            search_in=bench.plan.search_in,
        )
    if cfg.tune.tracker != "local":
        return _undisturbed(bench.latency, onnx)
    with bench.quiet.alone():
        return _undisturbed(bench.latency, onnx)


def _undisturbed(latency: Latency, onnx: Path) -> Measured:
    """A measurement, or the better of two if something else ran during the first."""
    first = latency.measure(onnx)
    if not first.drift.disturbed:
        return first
    second = latency.measure(onnx)
    best = min(first, second, key=lambda each: each.drift.passing)
    return replace(best, board_seconds=first.board_seconds + second.board_seconds)


def tell_once(bench: Bench, line: str) -> None:
    """Tells that a board did not answer; the same line only once, until one answers."""
    if line != bench.away:
        bench.note(f"warning: not measured: {line}; its predicted latency stands, later ones try")
        bench.away = line
