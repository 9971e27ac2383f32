"""Runs a stream in a process of its own, watches the board meanwhile, and makes the result."""

from __future__ import annotations

import contextlib
import datetime
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from tvmkd.base import signals
from tvmkd.base.version import __version__
from tvmkd.base.wire import Child
from tvmkd.bench import machine
from tvmkd.bench.process import environment
from tvmkd.deploy.streaming import power_mode, summarise
from tvmkd.deploy.streaming.plan import Plan
from tvmkd.deploy.streaming.record import Table, column
from tvmkd.deploy.streaming.result import Change, Settings, State, StreamModel, StreamResult
from tvmkd.deploy.streaming.sampler import Sampler

WORKER = "tvmkd.deploy.streaming.worker"
START_SECONDS = 300.0
"""Limit of the time without a sign of life, which loading and warming up may take."""

Told = Callable[[str, Mapping[str, Any]], None]


def run(
    plan: Plan,
    *,
    power: str | None = None,
    power_commands: Sequence[power_mode.Command] = (),
    model_ms: float | None = None,
    told: Told = lambda event, data: None,
) -> tuple[StreamResult, Table]:
    """Streams.

    SIGINT, SIGTERM or SIGHUP ends the stream after its frame: the result is that of the frames so
    far. A second one ends everything. The power mode is set back in any case.

    Args:
        plan: what to do.
        power: the name of the power mode, for the result.
        power_commands: what sets it.
        model_ms: the target's budget for the model alone.
        told: is told ``ready``, ``progress`` twice a second, and ``stopped`` with the ``signal``.

    Returns:
        the result, and the record of all frames (`tvmkd.deploy.streaming.record`).

    Raises:
        InputError: a model or the source cannot be used, or it ended before the first frame.
        MissingError: a setting is not permitted here, or what runs a model is not installed.
        WorkerDied: the process crashed.
    """
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tvmkd-stream-")))
        stack.enter_context(power_mode.applied(power_commands))
        threads = plan.thread_count
        child = stack.enter_context(
            Child([sys.executable, "-m", WORKER], env=environment(threads) if threads else {})
        )
        sampler = stack.enter_context(Sampler())
        stack.enter_context(ends_early(child.interrupt, told))
        params = {"plan": plan.to_dict(), "table": str(place / "frames.npy")}
        found = child.call("stream", params, silence=START_SECONDS, on_event=told)
        table: Table = np.load(place / "frames.npy")
    states = summarise.states(sampler.samples, found["begun"])
    result = assemble(plan, found, table, states, machine.facts(), power, model_ms)
    return result, table


@contextlib.contextmanager
def ends_early(stop: Callable[[], object], told: Told) -> Iterator[None]:
    """Has the first SIGINT, SIGTERM or SIGHUP end the stream; the second has its usual effect.

    After a SIGHUP the others are ignored for good: see `tvmkd.base.signals.hung_up`.

    Args:
        stop: ends the stream after its frame.
        told: is told ``stopped``.
    """
    before: dict[int, Any] = {}

    def pass_on(number: int, _frame: FrameType | None) -> None:
        restore()
        if number == signal.SIGHUP:
            signals.hung_up()
            del before[number]
        told("stopped", {"signal": number})
        stop()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    with contextlib.suppress(ValueError):  # not in the main thread: its owner handles signals
        for number in signals.ending():
            before[number] = signal.signal(number, pass_on)
    try:
        yield
    finally:
        restore()


def assemble(
    plan: Plan,
    found: Mapping[str, Any],
    table: Table,
    states: list[State],
    ran_on: dict[str, Any],
    power: str | None,
    model_ms: float | None,
) -> StreamResult:
    """Puts a result together.

    Args:
        plan: what was asked for.
        found: what `tvmkd.deploy.streaming.worker.stream` returns.
        table: the record of all frames.
        states: the readings of the board.
        ran_on: its facts: `tvmkd.bench.machine.facts`.
        power, model_ms: as of `run`.

    Raises:
        InputError: there is no frame.
    """
    rung = column(table, "rung")
    models = [
        StreamModel(
            **{key: value for key, value in model.items() if key != "exits"},
            frames=int((rung == place).sum()),
            exits=summarise.exits_of(table, place, model["exits"]),
        )
        for place, model in enumerate(found["models"])
    ]
    figures = summarise.figures(table, found["begun"], plan.seconds, plan.period_ns, plan.budget_ms)
    return StreamResult(
        tool=f"tvmkd {__version__}",
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        settings=Settings(
            fps=plan.fps,
            budget_ms=plan.budget_ms,
            model_ms=model_ms,
            seconds=plan.seconds,
            source=found["source"],
            when_late=plan.when_late,
            threads=plan.thread_count,
            cpus=list(plan.cpus),
            priority=plan.priority,
            locked_memory=plan.lock_memory,
            power=power,
        ),
        machine=ran_on,
        models=models,
        interrupted=bool(found["interrupted"]),
        changes=[Change(**step) for step in found["steps"]],
        states=states,
        **figures,
    )
