"""The tuning loop: choose a task, propose, build, measure, write down, again.

Building and measuring never overlap: a build beside a measured kernel would be measured too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvmkd.errors import TvmkdError, UsageError
from tvmkd.tuning.builder import BuildResult, WarmBuilder, linker_for
from tvmkd.tuning.runner import BoardRunner, RunJob, RunResult
from tvmkd.tuning.scheduler import TaskScheduler
from tvmkd.tuning.session import Session, open_session
from tvmkd.tuning.space import Candidate, Space, Task, plain

Emit = Callable[[str, dict[str, Any]], None]

OPTIONS = {
    "batch": 16,  # most trials a task gets at a time
    "boards": 1,  # boards measured on at once
    "build_timeout": 30.0,  # seconds
    "run_timeout": 10.0,  # seconds
    "board_wait": 90.0,  # seconds without any board after which tuning stops
    "workers": None,  # builds at a time (None: one a CPU)
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


@dataclass
class _Run:
    """What one call of :func:`tune` counts."""

    total: int
    done: int
    emit: Emit
    fresh: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def seconds_left(self) -> float | None:
        if self.fresh == 0:
            return None
        return (time.monotonic() - self.started) / self.fresh * (self.total - self.done)


def end_to_end(tasks: Sequence[Task], session: Session) -> float | None:
    """The model's time in seconds if it were the sum of its kernels' best; None: not all known."""
    total = 0.0
    for task in tasks:
        best = session.best(task.key)
        if best is None:
            return None
        total += task.weight * best
    return total


def tune(
    tasks: Sequence[Task],
    target: Mapping[str, Any],
    session: Session,
    runner: BoardRunner,
    builder: WarmBuilder,
    trials: int,
    seed: int,
    emit: Emit,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Tunes ``tasks`` until the session holds ``trials`` trials of them, or nothing is left.

    Trials made earlier in this folder count, so that a run which was cut off goes on where it
    was when started again with the same arguments. Every trial is written down as it ends.
    Given the same seed and the same measurements, the same candidates are proposed.

    Args:
        tasks: what to tune; a task with a ``template`` is searched there, others by evolution.
        target: ``Target.to_dict()``, only written down.
        options: see :data:`OPTIONS`.

    Returns:
        ``{"trials", "fresh", "tasks", "errors", "end_to_end_us", "seconds", "sessions_lost"}``.

    Raises:
        MissingError: no board answers any more; what was measured is kept.
    """
    import numpy as np

    del target  # the session was opened for it
    settings = _checked(tasks, trials, options)
    done = sum(session.trials(task.key) for task in tasks)
    run = _Run(trials, done, emit)
    for note in session.notes:
        emit("note", {"text": note})
    session.describe(tasks, runner.open(), seed)
    emit("tasks", {"tasks": [_status(task, session) for task in tasks]})
    rng = np.random.default_rng([seed, done])
    spaces = _spaces(tasks, session, seed)
    batch = max(1, min(settings["batch"], -(-trials // (2 * max(1, len(tasks))))))
    scheduler = TaskScheduler([(task.weight, task.flop, task.kind) for task in tasks])
    for index, task in enumerate(tasks):
        earlier = len(session.history(task.key)) // batch
        scheduler.resume(index, session.best(task.key), earlier)
    while run.done < run.total:
        chosen = scheduler.next(rng)
        if chosen is None:
            emit("note", {"text": "every task's space is exhausted"})
            break
        task = tasks[chosen]
        count = min(batch, run.total - run.done)
        known = session.known_keys(task.key)
        proposed = spaces[chosen].propose(count, known, session.history(task.key), rng)
        fresh = {each.key: each for each in proposed if each.key not in known}
        if not fresh:
            scheduler.drop(chosen)
            continue
        _trial_batch(task, list(fresh.values()), session, runner, builder, run)
        scheduler.record(chosen, session.best(task.key))
        estimate = end_to_end(tasks, session)
        emit(
            "estimate",
            {
                "end_to_end_us": None if estimate is None else estimate * 1e6,
                "time_left_s": run.seconds_left(),
            },
        )
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


def _status(task: Task, session: Session) -> dict[str, Any]:
    best = session.best(task.key)
    return {
        **task.summary(),
        "trials": session.trials(task.key),
        "best_us": None if best is None else best * 1e6,
    }


def _spaces(tasks: Sequence[Task], session: Session, seed: int) -> list[Space]:
    model = None
    spaces: list[Space] = []
    for task in tasks:
        if task.template is not None:
            spaces.append(task.template)
            continue
        from tvmkd.tuning.evolution import EvolutionSpace, cost_model

        if model is None:
            model = cost_model(seed)
        spaces.append(EvolutionSpace(task, session.stored(task.key), model))
    return spaces


def _arguments(candidate: Candidate) -> list[tuple[str, list[int]]]:
    """Dtype and shape of what the built kernel takes (weights as the schedule lays them out)."""
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    found = []
    for info in ArgInfo.from_entry_func(candidate.schedule.mod, remove_preproc=True):
        _, dtype, shape = plain(info.as_json())
        found.append((str(dtype), [int(size) for size in shape]))
    return found


def _trial_batch(
    task: Task,
    candidates: Sequence[Candidate],
    session: Session,
    runner: BoardRunner,
    builder: WarmBuilder,
    run: _Run,
) -> None:
    """Builds and measures candidates, and writes each trial down as it ends."""
    import tvm

    builds: dict[int, BuildResult] = {}

    def finish(index: int, kind: str | None, error: str | None, result: RunResult | None) -> None:
        build = builds[index]
        session.add(
            task,
            candidates[index],
            figure=None if result is None else result.figure,
            seconds=None if result is None else result.seconds,
            error_kind=kind,
            error=error,
            board=None if result is None else result.board,
            wall=build.seconds + (0.0 if result is None else result.wall),
        )
        run.done += 1
        run.fresh += 1
        if kind is not None:
            run.errors[kind] = run.errors.get(kind, 0) + 1
        figure = None if result is None else result.figure
        best = session.best(task.key)
        run.emit(
            "trial",
            {
                "task": task.key,
                "key": candidates[index].key,
                "status": "ok" if kind is None else "failed",
                "us": None if figure is None else figure * 1e6,
                "best_us": None if best is None else best * 1e6,
                "trials_done": run.done,
                "trials_total": run.total,
                "error_kind": kind,
            },
        )

    def built(index: int, build: BuildResult) -> None:
        builds[index] = build
        if build.path is None:
            finish(index, build.error_kind, build.error, None)

    mods = [tvm.ir.save_json(each.schedule.mod) for each in candidates]
    builder.build(mods, built)
    good = [index for index in range(len(candidates)) if builds[index].path is not None]
    jobs = []
    for index in good:
        path = builds[index].path
        assert path is not None
        jobs.append(RunJob(path, _arguments(candidates[index])))

    def measured(position: int, result: RunResult) -> None:
        finish(good[position], result.error_kind, result.error, result)

    try:
        runner.run(jobs, best=session.best(task.key), on_result=measured)
    finally:
        for job in jobs:
            job.path.unlink(missing_ok=True)


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
    import tvm

    with contextlib.ExitStack() as stack_of:
        session = stack_of.enter_context(
            open_session(
                folder,
                target,
                stack,
                stack_version=stack_version,
                onnx_sha256=onnx_sha256,
                seed=seed,
            )
        )
        builder = stack_of.enter_context(
            WarmBuilder(
                tvm.ir.save_json(tasks[0].target),
                linker=linker_for(target.get("toolchain")),
                workers=settings["workers"],
                timeout=settings["build_timeout"],
            )
        )
        runner = stack_of.enter_context(
            BoardRunner(
                tracker,
                boards=settings["boards"],
                run_timeout=settings["run_timeout"],
                board_wait=settings["board_wait"],
                device=target.get("device", "cpu"),
            )
        )
        try:
            return tune(tasks, target, session, runner, builder, trials, seed, emit, options)
        except TvmkdError as error:
            emit("note", {"text": f"tuning stopped; every finished trial is in {folder}"})
            raise error
