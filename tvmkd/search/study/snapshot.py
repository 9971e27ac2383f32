"""A study as ``study.json``, written after each trial, and finished at the end."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from tvmkd.base.errors import MissingError, TvmkdError, WorkerDied
from tvmkd.base.files import write_text
from tvmkd.base.locks import Lock
from tvmkd.base.version import __version__
from tvmkd.search import choice, finishing, page, winner
from tvmkd.search.front import accuracy_of, front, latency_of, reference, usable
from tvmkd.search.results import STUDY, Point, Study
from tvmkd.search.study import baselines, measuring, points
from tvmkd.search.study.bench import Bench
from tvmkd.search.study.goal import in_unit
from tvmkd.search.study.training import finishing_key
from tvmkd.search.study.trial import describe


def snapshot(bench: Bench, *, complete: bool = False) -> Study:
    """What is known of a search now."""
    study, goal, cfg = bench.study, bench.goal, bench.plan.cfg
    attributes = study.user_attrs
    later = points.measured_later(attributes)
    trials = study.get_trials(deepcopy=False)
    known = bench.points()
    metric = bench.networks.session(cfg).task.metric
    found = Study(
        tvmkd_version=__version__,
        name=cfg.project.name,
        method=bench.plan.search.method,
        objective=goal.objective,
        target=bench.plan.target.name,
        unit=bench.unit,
        budget=goal.budget,
        metric=metric.name,
        maximize=goal.maximize,
        alpha=goal.alpha,
        beta=goal.beta,
        seed=bench.plan.search.seed,
        teacher=_teacher(attributes.get("teacher")),
        table=bench.latency.describe(),
        space=dict(bench.space.describe()),
        points=known,
        baselines=baselines.known(bench),
        reference=_reference(known, maximize=goal.maximize),
        board_seconds=points.board_seconds(trials, later) + attributes.get(points.TUNING, 0.0),
        training_seconds=math.fsum(point.seconds for point in known),
        complete=complete,
    )
    won = choice.of_study(found).winner
    return found.model_copy(update={"winner": None if won is None else won.number})


def write(bench: Bench, *, complete: bool = False) -> Study:
    """Writes ``study.json`` in one step; of several processes the last one has read all."""
    place = bench.plan.folder / STUDY
    with Lock(bench.plan.folder / ".study.lock", "writing", "", wait=lambda line: None):
        found = snapshot(bench, complete=complete)
        write_text(place, found.model_dump_json(indent=2) + "\n")
    return found


def finish(bench: Bench) -> Study:
    """Measures what may win and was not measured, compares, chooses the winner, writes all of it.

    Returns:
        the study; its page and its winner's files are written beside ``study.json``.
    """
    _measure_rest(bench)
    baselines.add(bench)
    found = write(bench, complete=True)
    _write_files(bench, found)
    return found


def _measure_rest(bench: Bench) -> None:
    """Measures the front's points that a board was missing for, and those that may win."""
    cfg = bench.plan.cfg
    if not bench.plan.search.measure:
        return
    tried: set[int] = set()
    while True:
        now = snapshot(bench)
        chosen = choice.of_study(now)
        first = [*chosen.unsure, *([chosen.winner] if chosen.winner else [])]
        line = front(now.points, maximize=now.maximize)
        todo = [
            point
            for point in (*first, *line)
            if point.measured is None and point.checkpoint and point.number not in tried
            if measuring.can_be(bench.space.apply(cfg, point.structure))
        ]
        if not todo:
            return
        tried.add(todo[0].number)
        if not _measure_later(bench, todo[0]):
            return


def _measure_later(bench: Bench, point: Point) -> bool:
    """Measures a point whose trial is over; False: no board answers."""
    assert point.checkpoint is not None
    bench.doing(f"measuring trial {point.number}")
    try:
        candidate = bench.build(point.structure)
        onnx = None
        if not finishing.is_final(candidate.cfg):
            place = candidate.folder / finishing_key(candidate.cfg)
            onnx = place / f"{candidate.cfg.export.precision}.onnx"
        weights = bench.plan.folder / point.checkpoint
        measured = measuring.measure(bench, weights, candidate, onnx)
    except (MissingError, WorkerDied) as error:
        measuring.tell_once(bench, describe(error))
        return False
    except TvmkdError as error:
        bench.note(f"warning: trial {point.number} is not measured: {describe(error)}")
        return True
    values = {
        points.MEASURED: in_unit(measured.seconds),
        points.BOARD_SECONDS: measured.board_seconds,
    }
    bench.study.set_user_attr(f"{points.MEASURED}:{point.number}", values)
    return True


def _write_files(bench: Bench, found: Study) -> None:
    """The winner as files, if its weights are on this machine, and the page."""
    plan = bench.plan
    won = next((point for point in found.points if point.number == found.winner), None)
    if won is not None and won.checkpoint is not None:
        session = bench.networks.session(bench.space.apply(plan.cfg, won.structure))
        trained = session.out / "teacher.pt"
        teacher = trained if trained.is_file() else None
        winner.write(found, plan.cfg, bench.space, plan.folder, teacher=teacher)
    page.write(found, plan.folder / page.PARETO)


def _teacher(known: Any) -> dict[str, Any]:
    """The teacher's facts as ``study.json`` names them."""
    if not isinstance(known, dict):
        return {}
    return {
        "model": known.get("model"),
        "accuracy": known.get("test_accuracy"),
        "macs": known.get("macs"),
        "parameters": known.get("parameters"),
    }


def _reference(known: list[Point], *, maximize: bool) -> tuple[float, float] | None:
    over = usable(known)
    with suppress(ValueError):
        return reference(
            [accuracy_of(point) for point in over],
            [latency_of(point) for point in over],
            maximize=maximize,
        )
    return None
