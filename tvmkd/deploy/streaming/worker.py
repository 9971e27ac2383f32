"""The process of a stream: it does nothing but the frames. ``python -m`` starts it.

The process that asked for it shows the progress, reads the board's state and writes the report:
none of these may hold up a frame.
"""

from __future__ import annotations

import contextlib
import gc
import signal
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from time import monotonic_ns
from typing import Any

import numpy as np

from tvmkd.base import wire
from tvmkd.boards import telemetry
from tvmkd.deploy.streaming import fit, realtime, sources
from tvmkd.deploy.streaming.clock import MonotonicClock
from tvmkd.deploy.streaming.frames import Frames
from tvmkd.deploy.streaming.ladder import Ladder, Rules
from tvmkd.deploy.streaming.loop import Loop, Rung
from tvmkd.deploy.streaming.model import open_model
from tvmkd.deploy.streaming.pipeline import pipeline_of
from tvmkd.deploy.streaming.plan import Plan
from tvmkd.deploy.streaming.record import Record, column, latency_ms
from tvmkd.timing.loop import collector_off

WARM_SECONDS = 0.5
WARM_FRAMES = 10
TOLD_FRAMES = 300  # so many of the last frames are in a progress message
FAR = 1 << 62  # a deadline that never comes


def stream(params: dict[str, Any], emit: wire.Event) -> dict[str, Any]:
    """Runs a `Plan`.

    Args:
        params: ``plan``, and ``table``: the ``.npy`` to write the record to.
        emit: is told ``ready`` once the models are warm, and ``progress`` twice a second.

    Returns:
        ``begun`` (ns), ``ended`` (whether the source ended), ``source``, ``models`` and ``steps``
        of the ladder.
    """
    plan = Plan.from_dict(params["plan"])
    priority = None if plan.priority is None else realtime.Priority.parse(plan.priority)
    with _told_to_stop() as stopped, realtime.applied(plan.cpus, priority, plan.lock_memory):
        frames = sources.open_frames(
            plan.source, None if plan.input is None else Path(plan.input), plan.size, plan.severity
        )
        rungs = [_rung(path, plan) for path in plan.paths]
        fit.check([rung.model for rung in rungs], plan.when_late)
        reference = [_warm_up(rung, plan) for rung in rungs]
        if len(rungs) > 1:  # the others have cooled down the first one's caches
            _warm_up(rungs[0], plan)
        record = Record(int(plan.seconds * plan.fps) + 2)
        loop, ladder = _loop(plan, rungs, frames, reference, record, emit)
        emit("ready", {"reference_ms": reference})
        gc.freeze()
        with collector_off():
            loop.run(plan.seconds, stopped)
    np.save(params["table"], record.table())
    return {
        "begun": loop.begun,
        "ended": loop.ended,
        "interrupted": stopped(),
        "source": frames.describes,
        "models": [
            {
                "name": rung.model.name,
                "path": str(rung.model.path),
                "sha256": rung.model.sha256,
                "runtime": rung.model.runtime,
                "steps": rung.steps.kind,
                "reference_ms": ms,
                "exits": rung.model.exits,
            }
            for rung, ms in zip(rungs, reference, strict=True)
        ],
        "steps": [] if ladder is None else [asdict(step) for step in ladder.steps],
    }


def _loop(
    plan: Plan,
    rungs: list[Rung],
    frames: Frames,
    reference: list[float],
    record: Record,
    emit: wire.Event,
) -> tuple[Loop, Ladder | None]:
    ladder = None
    if plan.when_late == "ladder":
        rules = Rules(plan.budget_ms, hot=plan.hot, cool=plan.cool, calm_s=plan.calm_s)
        ladder = Ladder(reference, rules)
    files = telemetry.files_here()

    def idle() -> None:
        gc.collect(0)
        if ladder is not None:
            zones = telemetry.zones(files)
            ladder.feel(max((zone.celsius for zone in zones), default=None))
        emit("progress", _progress(record, plan, 0 if ladder is None else ladder.rung))

    budget = int(plan.budget_ms * 1e6)
    return (
        Loop(rungs, frames, MonotonicClock(), plan.period_ns, budget, record, ladder, idle),
        ladder,
    )


def _progress(record: Record, plan: Plan, rung: int) -> dict[str, Any]:
    table = record.table()
    latency = latency_ms(table[-TOLD_FRAMES:])
    return {
        "frames": record.count,
        "dropped": int(column(table[-1:], "number")[0]) + 1 - record.count,
        "worst": float(latency.max()),
        "late": int((latency > plan.budget_ms).sum()),
        "rung": rung,
    }


def _rung(path: Path, plan: Plan) -> Rung:
    model = open_model(path, plan.when_late == "exit", plan.thread_count or 0)
    return Rung(model, pipeline_of(model))


def _warm_up(rung: Rung, plan: Plan) -> float:
    """Runs frames that do not count; returns the median of their last half, ms.

    Of random pixels or the source's own size alone: a pipe's frames are not taken before the start.
    """
    frames = sources.open_frames("random", None, plan.size)
    times: list[int] = []
    begin = monotonic_ns()
    number = 0
    while number < WARM_FRAMES or monotonic_ns() - begin < WARM_SECONDS * 1e9:
        pixels = frames.pixels(number)
        start = monotonic_ns()
        if rung.model.run_frame is not None:
            rung.model.run_frame(pixels, FAR)
        else:
            outputs, _ = rung.model.run(rung.steps.prepare(pixels), FAR)
            rung.steps.finish(outputs, pixels)
        times.append(monotonic_ns() - start)
        number += 1
    return float(np.median(times[len(times) // 2 :])) / 1e6


@contextlib.contextmanager
def _told_to_stop() -> Iterator[Any]:
    """A function that is true after SIGINT, with which the parent ends the stream."""
    told: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: told.append(number))
    try:
        yield lambda: bool(told)
    finally:
        signal.signal(signal.SIGINT, before)


def main() -> None:
    """Serves until stdin closes."""
    from tvmkd.base.prctl import die_with_parent

    die_with_parent()
    wire.serve({"stream": stream})


if __name__ == "__main__":
    main()
