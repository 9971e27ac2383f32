"""A clock, models and steps that tests control, and results of made-up records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.base.manifest import TensorSpec
from tvmkd.boards.board_state import Clock as CpuClock
from tvmkd.boards.board_state import Telemetry, Zone
from tvmkd.deploy.streaming import summarise
from tvmkd.deploy.streaming.loop import Rung
from tvmkd.deploy.streaming.model import Model
from tvmkd.deploy.streaming.record import COLUMNS, Table
from tvmkd.deploy.streaming.result import Change, Settings, StreamModel, StreamResult
from tvmkd.deploy.streaming.sampler import Sample

MS = 1_000_000


class FakeClock:
    """Time passes only where a test says so, and in waits."""

    def __init__(self) -> None:
        self.time = 1_000 * MS
        self.waits: list[int] = []

    def now(self) -> int:
        return self.time

    def wait_until(self, when: int) -> None:
        self.waits.append(when)
        self.time = max(self.time, when)

    def spend(self, ms: float) -> None:
        self.time += round(ms * MS)


class FakeSteps:
    """Pre- and post-processing that take a fixed time."""

    kind = "fake"

    def __init__(self, clock: FakeClock, before: float = 0.0, after: float = 0.0) -> None:
        self.clock, self.before, self.after = clock, before, after

    def prepare(self, pixels: Any) -> Sequence[np.ndarray]:
        self.clock.spend(self.before)
        return [pixels]

    def finish(self, outputs: Any, pixels: Any) -> Any:
        self.clock.spend(self.after)
        return outputs


def rung(
    clock: FakeClock, ms: Callable[[int], float], before: float = 0.0, after: float = 0.0
) -> Rung:
    """A model whose run takes ``ms(clock's time)``; it keeps the deadlines that it was given."""
    deadlines: list[int] = []

    def run(arrays: Sequence[np.ndarray], deadline: int) -> tuple[Any, int]:
        deadlines.append(deadline)
        clock.spend(ms(clock.time))
        return arrays, 0

    model = fake_model(run=run)
    model.metadata["deadlines"] = deadlines  # type: ignore[index]
    return Rung(model, FakeSteps(clock, before, after))


def fake_model(**fields: Any) -> Model:
    image = [TensorSpec(name="input", shape=[1, 3, 8, 16], dtype="float32")]
    logits = [TensorSpec(name="logits", shape=[1, 10], dtype="float32")]
    given: dict[str, Any] = {
        "name": "fake",
        "path": Path("fake"),
        "sha256": "0" * 64,
        "runtime": "none",
        "inputs": image,
        "outputs": logits,
        "metadata": {},
        "exits": 1,
        "run": lambda arrays, deadline: (arrays, 0),
    }
    return Model(**{**given, **fields})


def table(
    latencies: Sequence[float], period: float = 40.0, numbers: Sequence[int] = (), rung: int = 0
) -> Table:
    """A record: frame k is released at ``(k + 1) * period`` ms and takes so many ms."""
    rows = []
    for number, ms in zip(numbers or range(len(latencies)), latencies, strict=True):
        release = round((number + 1) * period * MS)
        shares = [0.0, 0.1, 0.3, 0.8, 1.0]  # begin, captured, prepared, ran, finish
        times = [release + round(share * ms * MS) for share in shares]
        rows.append([number, release, *times, rung, 0])
    return np.array(rows, np.int64).reshape(-1, len(COLUMNS))


def result(
    latencies: Sequence[float],
    budget_ms: float = 20.0,
    period: float = 40.0,
    celsius: Sequence[float] = (),
    **fields: Any,
) -> StreamResult:
    """A stream's result."""
    numbers = fields.pop("numbers", ())
    rows = table(latencies, period, numbers)
    seconds = (int(rows[-1, 1]) + round(period * MS)) / 1e9
    samples = [
        Sample(
            round(second * 1e9),
            Telemetry(zones=(Zone("cpu", value),), clocks=(CpuClock((0,), 900_000, 1, 2),)),
            value > 70,
        )
        for second, value in enumerate(celsius)
    ]
    settings = Settings(
        fps=1000 / period,
        budget_ms=budget_ms,
        seconds=seconds,
        source="random pixels, 640x480",
        when_late="drop",
    )
    model = StreamModel(
        name="student",
        path="out",
        sha256="ab" * 32,
        runtime="TVM (relax 0.27)",
        steps="image",
        reference_ms=1.0,
        frames=len(rows),
        exits=[len(rows)],
    )
    given: dict[str, Any] = {
        "tool": "tvmkd 0.1.0",
        "created": "2026-11-29T06:00:00+00:00",
        "settings": settings,
        "machine": {
            "cpu": "Cortex-A57",
            "machine": "aarch64",
            "cpus": 4,
            "system": "Linux 4.9",
            "governor": None,
        },
        "models": [model],
        "interrupted": False,
        "changes": [],
        "states": summarise.states(samples, 0),
        **summarise.figures(rows, 0, seconds, round(period * MS), budget_ms),
    }
    return StreamResult(**{**given, **fields})


def laddered() -> StreamResult:
    """A result with two models, changes between them, heat and misses."""
    base = result(
        [5.0] * 40 + [25.0] * 6 + [4.0] * 40,
        numbers=[*range(40), *range(41, 47), *range(47, 87)],
        celsius=[60.0, 72.0, 65.0],
    )
    models = [base.models[0], base.models[0].model_copy(update={"name": "small <b>"})]
    changes = [Change(second=1.7, before=0, after=1, why="2 of 15 frames were late")]
    settings = base.settings.model_copy(update={"when_late": "ladder"})
    return base.model_copy(update={"models": models, "changes": changes, "settings": settings})
