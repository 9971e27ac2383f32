"""Students chosen by hand, trained and measured as the networks of a search are, to compare."""

from __future__ import annotations

import math
from dataclasses import replace

from tvmkd.base.errors import InputError, MissingError, WorkerDied
from tvmkd.config.values import Values
from tvmkd.distill.training import Rungs
from tvmkd.search.results import Point
from tvmkd.search.space import Space
from tvmkd.search.study import measuring, predicting
from tvmkd.search.study.bench import Bench
from tvmkd.search.study.goal import in_unit
from tvmkd.search.study.trial import describe, facts, note_teacher

BASELINE = "baseline"
"""Start of the names of the study's attributes that hold them."""


def known(bench: Bench) -> list[Point]:
    """Those that were trained, in the order of their names in ``[search] baselines``."""
    found = (bench.study.user_attrs.get(f"{BASELINE}:{name}") for name in _names(bench))
    return [Point.model_validate(each) for each in found if each is not None]


def add(bench: Bench) -> None:
    """Trains and measures the students that are missing. One that fails is left out and told."""
    measures = bench.plan.search.measure
    done = {point.structure["model"] for point in known(bench) if point.measured or not measures}
    for number, name in enumerate(_names(bench)):
        if name in done:
            continue
        try:
            point = _point(bench, name, number)
        except Exception as error:  # a network may fail in any way
            bench.note(f"warning: the student {name} is not compared: {describe(error)}")
        else:
            bench.study.set_user_attr(f"{BASELINE}:{name}", point.model_dump(mode="json"))
        finally:
            bench.quiet.rest()


def _names(bench: Bench) -> list[str]:
    given = bench.plan.search.baselines
    return [bench.plan.cfg.student.model] if given is None else given


def _point(bench: Bench, name: str, number: int) -> Point:
    """One student, as a point.

    Raises:
        InputError: it cannot be built, trained, exported or compiled.
    """
    plan, structure = bench.plan, {"model": name}
    search = plan.search.model_copy(update={"space": {"model": Values(choices=[name])}})
    cfg = plan.cfg.model_copy(update={"search": search})
    own = Space.from_config(cfg, plan.target, plan.search_in)
    alone = replace(bench, space=own, _predictions={})
    text = f"the student {name}, to compare with"
    bench.doing(text)
    candidate = alone.build(structure)
    times = predicting.times(alone, structure)
    note_teacher(bench, candidate)
    epochs = candidate.cfg.distill.epochs

    def report(done: int, note: str) -> None:
        bench.quiet.epoch()
        bench.doing(note or text, done=done, total=epochs)

    to_the_end = Rungs(frozenset(), lambda epoch, score: None)
    trained = bench.training.fit(candidate, to_the_end, report)
    bench.quiet.rest()
    if not math.isfinite(trained.score):
        raise InputError(f"its score on the validation split is {trained.score}")
    prediction, measured = times[-1], None
    if trained.checkpoint is not None:
        if candidate.cfg.early_exit is not None:
            prediction, _ = predicting.mean(times, candidate, trained.checkpoint)
        elif plan.search.measure:
            try:
                measured = measuring.measure(bench, trained.checkpoint, candidate, trained.onnx)
            except (MissingError, WorkerDied) as error:
                measuring.tell_once(bench, describe(error))
    return Point(
        number=number,
        structure=structure,
        state="complete",
        accuracy=trained.score,
        test_accuracy=trained.test,
        **facts(prediction),
        measured=None if measured is None else in_unit(measured.seconds),
        macs=candidate.size.macs,
        parameters=candidate.size.parameters,
        epochs=trained.epochs,
        seconds=trained.seconds,
        seed=candidate.seed,
    )
