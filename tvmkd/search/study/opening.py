"""Opens a study: its storage, its space, and what its workers need."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tvmkd.base.errors import InputError
from tvmkd.base.wire import Event
from tvmkd.config.values import Values
from tvmkd.search.space import Space
from tvmkd.search.study import fingerprint
from tvmkd.search.study.bench import Bench, Plan
from tvmkd.search.study.goal import UNITS, Goal, limit
from tvmkd.search.study.networks import Networks
from tvmkd.search.study.quiet import Quiet
from tvmkd.search.study.rungs import pruner
from tvmkd.search.study.storage import answering, open_storage, public

if TYPE_CHECKING:
    import optuna

    from tvmkd.distill.task import Task
    from tvmkd.search.latency.prediction import Latency

CHANNELS = "efficient channels"
"""Attribute of a study: the values of its parameters with ``channels = "efficient"``."""


def open_bench(plan: Plan, event: Event, worker: int = 0) -> Bench:
    """Everything that a worker needs.

    Args:
        plan: of the search.
        event: gets what happens.
        worker: the worker's number.

    Raises:
        InputError: the study was made for something else, or its storage, the space, the data or
            the target cannot be used.
        MissingError: Optuna, a database or a stack is missing.
    """
    cfg, search = plan.cfg, plan.search
    # What costs little is refused first.
    storage = open_storage(search.storage, plan.folder)
    space = Space.from_config(cfg, plan.target, plan.search_in)
    networks = Networks(plan.folder, plan.target, plan.search_in, worker)
    session = networks.session(cfg)
    latency = plan.open_latency()
    unit = UNITS[latency.unit]
    goal = Goal(
        search.objective,
        limit(search.limit, unit),
        search.alpha,
        search.beta,
        session.task.metric.higher_is_better,
    )
    facts = fingerprint.fingerprint(plan, session.task.sha256, goal)
    with answering(search.storage):
        study = _study(plan, storage, goal, session.steps)
        if fingerprint.claim(study, facts, public(search.storage)):
            study.set_user_attr(CHANNELS, None)  # the space may be another one
    return Bench(
        plan=plan,
        study=study,
        space=with_channels(space, study.user_attrs.get(CHANNELS)),
        goal=goal,
        unit=unit,
        latency=latency,
        networks=networks,
        training=plan.make_training(networks),
        quiet=Quiet(plan.folder),
        event=event,
        worker=worker,
    )


def settle_channels(bench: Bench) -> None:
    """Finds the efficient channel counts that the space asks for, once for the whole study.

    The study keeps them: the table changes with each measurement, and what a parameter may be must
    not, for Optuna.

    Raises:
        InputError: the latency of no network can be predicted.
    """
    wanted = [each.name for each in bench.space.parameters if each.values.channels is not None]
    if not wanted:
        return
    bench.doing("looking for efficient channel counts")
    task = bench.networks.session(bench.plan.cfg).task
    found = efficient_channels(bench.space, bench.latency, task)
    # Another process may have been quicker, with a table that knew less.
    known = bench.study.user_attrs.get(CHANNELS)
    if known is None:
        bench.study.set_user_attr(CHANNELS, known := found)
    bench.space = with_channels(bench.space, known)


def efficient_channels(space: Space, latency: Latency, task: Task) -> dict[str, list[float]]:
    """The efficient channel counts of the parameters that ask for them, by name.

    Raises:
        InputError: the latency of no network can be predicted.
    """
    wanted = {each.name for each in space.parameters if each.values.channels is not None}
    if not wanted:
        return {}
    found = space.efficient(latency, task).parameters
    return {each.name: each.values.choices or [] for each in found if each.name in wanted}


def with_channels(space: Space, known: dict[str, list[float]] | None) -> Space:
    """A space with the efficient channel counts that a study keeps."""
    if not known:
        return space
    parameters = [
        replace(each, values=Values(choices=known[each.name])) if each.name in known else each
        for each in space.parameters
    ]
    return space.with_parameters(parameters)


def _study(
    plan: Plan, storage: optuna.storages.BaseStorage, goal: Goal, steps: int
) -> optuna.Study:
    """Optuna's study, made or found.

    Raises:
        InputError: it has other objectives.
    """
    import optuna

    search = plan.search
    name = plan.cfg.project.name
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=goal.directions,
        pruner=pruner(plan.cfg.distill.epochs, steps, search.stop),
        load_if_exists=True,
    )
    found = [direction.name.lower() for direction in study.directions]
    if found != goal.directions and not study.get_trials(deepcopy=False):
        optuna.delete_study(study_name=name, storage=storage)
        return _study(plan, storage, goal, steps)
    if found != goal.directions:
        raise InputError(
            f"{public(search.storage)}: the study {name} was made with another objective; give "
            "another [project] name and out, or put it back"
        )
    if not study.metric_names:
        study.set_metric_names(goal.names)
    return study
