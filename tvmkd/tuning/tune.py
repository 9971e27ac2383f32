"""Tuning: a session, a builder, a runner and the search loop that connects them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tvmkd.base.errors import TvmkdError, UsageError
from tvmkd.base.toolchain import linker_for
from tvmkd.runtime import nvrtc
from tvmkd.tuning import canary, records, tuner_backend
from tvmkd.tuning.builder import WarmBuilder
from tvmkd.tuning.measurement import RunJob
from tvmkd.tuning.runner import BoardRunner
from tvmkd.tuning.search_loop import Emit, Run, SearchLoop, end_to_end
from tvmkd.tuning.session import Session, open_session
from tvmkd.tuning.space import Task

OPTIONS = {
    "batch": 16,  # most trials a task gets at a time
    "boards": None,  # boards measured on at once (None: all under the key)
    "build_timeout": 30.0,  # seconds
    "run_timeout": 10.0,  # seconds
    "board_wait": 90.0,  # seconds without any board after which tuning stops
    "workers": None,  # builds at a time (None: one a CPU)
    "evaluator": "time",  # or "icount": instructions, on emulated boards that count them
    "steady": False,  # measure again what was measured while something else ran on the board
}


def options_with_defaults(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """``options`` over :data:`OPTIONS`.

    Raises:
        UsageError: an unknown name.
    """
    unknown = sorted(set(options or {}) - set(OPTIONS))
    if unknown:
        raise UsageError(f"unknown tuning option {unknown[0]!r}; known: {', '.join(OPTIONS)}")
    return {**OPTIONS, **(options or {})}


def _checked(
    tasks: Sequence[Task], trials: int, options: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The options with their defaults, once the arguments are found to be right."""
    if trials < 1:
        raise UsageError(f"trials must be at least 1, not {trials}")
    if not tasks:
        raise UsageError("there is nothing to tune: the model has no tunable kernel")
    return options_with_defaults(options)


def tune(
    tasks: Sequence[Task],
    session: Session,
    runner: BoardRunner,
    builder: WarmBuilder,
    trials: int,
    seed: int,
    emit: Emit,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Tunes ``tasks`` until the session holds ``trials`` trials, or all spaces are exhausted.

    Earlier trials in this folder count, so an interrupted run continues where it stopped when it is
    started again with the same arguments. Every trial is recorded as it ends.
    Given the same seed and the same measurements, the same candidates are proposed.

    Args:
        tasks: what to tune; a task with a ``template`` is searched there, others by evolution.
        options: see :data:`OPTIONS`.

    Returns:
        ``{"trials", "fresh", "tasks", "errors", "end_to_end_us", "seconds", "sessions_lost"}``.

    Raises:
        MissingError: no board answers any more; what was measured is kept.
    """
    settings = _checked(tasks, trials, options)
    done = sum(session.trials(task.key) for task in tasks)
    run = Run(trials, done, emit)
    for note in session.notes:
        emit("note", {"text": note})
    session.describe(tasks, runner.open(), seed)
    emit("tasks", {"tasks": [_status(task, session) for task in tasks]})
    if settings["steady"] and settings["evaluator"] == "time":
        _watch(runner, builder, session)
    batch = max(1, min(settings["batch"], -(-trials // (2 * max(1, len(tasks))))))
    stack = tuner_backend.of(session.info["stack"])
    SearchLoop(tasks, stack, session, runner, builder, run, seed, batch).run()
    estimate = end_to_end(tasks, session)
    return {
        "trials": run.done,
        "fresh": run.fresh,
        "tasks": [_status(task, session) for task in tasks],
        "errors": run.errors,
        "end_to_end_us": None if estimate is None else estimate * 1e6,
        "seconds": time.monotonic() - run.started,
        "sessions_lost": runner.lost,
    }


def _watch(runner: BoardRunner, builder: WarmBuilder, session: Session) -> None:
    """Has the boards run a canary after each measurement, where the stack can make one."""
    source = tuner_backend.of(session.info["stack"]).canary(session.info["target"])
    if source is None:
        return
    (built,) = builder.build([source])
    if built.path is not None:
        known = canary.usual(records.trials(session.folder))
        runner.watch(RunJob(built.path, built.args), known)


def _status(task: Task, session: Session) -> dict[str, Any]:
    best = session.best(task.key)
    return {
        **task.summary(),
        "trials": session.trials(task.key),
        "best_us": None if best is None else best * 1e6,
    }


def tune_into(
    folder: Path,
    tasks: Sequence[Task],
    target: Mapping[str, Any],
    tracker: Mapping[str, Any],
    *,
    trials: int,
    seed: int,
    emit: Emit,
    stack: str,
    stack_version: str = "",
    onnx_sha256: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """:func:`tune` with a session, a builder and a runner made for it and closed after it.

    Args:
        folder: the records folder.
        tasks: at least one.
        target: ``Target.to_dict()``.
        tracker: ``{"host", "port", "key"}``.
    """
    settings = _checked(tasks, trials, options)
    emit("started", {})
    with contextlib.ExitStack() as stack_of:
        session = stack_of.enter_context(
            open_session(
                folder,
                target,
                stack,
                stack_version=stack_version,
                onnx_sha256=onnx_sha256,
                seed=seed,
                evaluator=settings["evaluator"],
            )
        )
        builder = stack_of.enter_context(
            WarmBuilder(
                tuner_backend.of(stack).setup(tasks),
                stack,
                linker=linker_for(target.get("toolchain")),
                workers=settings["workers"],
                timeout=settings["build_timeout"],
                cuda=nvrtc.settings(target),
            )
        )
        runner = stack_of.enter_context(
            BoardRunner(
                tracker,
                target,
                boards=settings["boards"],
                run_timeout=settings["run_timeout"],
                board_wait=settings["board_wait"],
                evaluator=settings["evaluator"],
                emulated=session.emulated,
            )
        )
        try:
            return tune(tasks, session, runner, builder, trials, seed, emit, options)
        except TvmkdError as error:
            emit("note", {"text": f"tuning stopped; every finished trial is in {folder}"})
            raise error
