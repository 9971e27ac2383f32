from __future__ import annotations

import numpy as np
import pytest
from streams import MS, FakeClock, fake_model, rung

from tvmkd.deploy.streaming.frames import Scheduled
from tvmkd.deploy.streaming.ladder import Ladder, Rules
from tvmkd.deploy.streaming.loop import WINDOW, Loop, Rung
from tvmkd.deploy.streaming.model import Whole
from tvmkd.deploy.streaming.pipeline import InLibrary
from tvmkd.deploy.streaming.record import Record, column, latency_ms, stage_ms

FRAMES = [np.zeros((2, 4, 3), np.uint8)]


def loop(
    clock: FakeClock,
    rungs: list[Rung],
    period: float = 20.0,
    budget: float = 20.0,
    ladder: Ladder | None = None,
    **more: object,
) -> tuple[Loop, Record]:
    record = Record(10_000)
    made = Loop(
        rungs,
        Scheduled(FRAMES, "gray"),
        clock,
        round(period * MS),
        round(budget * MS),
        record,
        ladder,
        **more,  # type: ignore[arg-type]
    )
    return made, record


def test_each_step_has_its_time() -> None:
    clock = FakeClock()
    made, record = loop(clock, [rung(clock, lambda now: 5.0, before=2.0, after=1.0)])
    made.run(0.1)
    rows = record.table()
    assert len(rows) == 4  # at 20, 40, 60 and 80 ms; the next is due at the end
    assert {name: set(ms.tolist()) for name, ms in stage_ms(rows).items()} == {
        "capture": {0.0},
        "pre-processing": {2.0},
        "model": {5.0},
        "post-processing": {1.0},
    }
    assert set(latency_ms(rows).tolist()) == {8.0}
    releases = column(rows, "release") - made.begun
    assert releases.tolist() == [20 * MS, 40 * MS, 60 * MS, 80 * MS]


def test_a_library_times_its_own_steps() -> None:
    clock = FakeClock()
    deadlines = []

    def run_frame(pixels: np.ndarray, deadline: int) -> Whole:
        deadlines.append(deadline)
        clock.spend(8.0)
        return Whole(2 * MS, 5 * MS, 1)

    made, record = loop(clock, [Rung(fake_model(run_frame=run_frame, exits=2), InLibrary())])
    made.run(0.1)
    stages = {name: set(ms.tolist()) for name, ms in stage_ms(record.table()).items()}
    assert stages["pre-processing"] == {2.0}
    assert stages["model"] == {5.0}
    assert stages["post-processing"] == {1.0}
    assert set(column(record.table(), "exit").tolist()) == {1}
    assert deadlines[1] == column(record.table(), "release")[1] + 19 * MS


def test_the_schedule_does_not_drift_over_many_frames() -> None:
    clock = FakeClock()
    made, record = loop(clock, [rung(clock, lambda now: 3.0)], period=1000 / 30)
    made.run(100)
    period = round(1e9 / 30)
    rows = record.table()
    expected = made.begun + (column(rows, "number") + 1) * period
    assert (column(rows, "release") == expected).all()
    assert column(rows, "number").tolist() == list(range(len(rows)))


def test_the_model_gets_the_pixels_of_its_frame() -> None:
    clock = FakeClock()
    seen: list[int] = []
    only = rung(clock, lambda now: 1.0)

    def prepare(pixels: np.ndarray) -> list[np.ndarray]:
        seen.append(int(pixels[0, 0, 0]))
        return [pixels]

    only.steps.prepare = prepare  # type: ignore[method-assign]
    images = [np.full((2, 4, 3), number, np.uint8) for number in range(3)]
    record = Record(100)
    Loop([only], Scheduled(images, ""), clock, 10 * MS, 10 * MS, record).run(0.06)
    assert seen == [0, 1, 2, 0, 1]


def test_a_slow_frame_makes_the_next_one_late_and_others_are_dropped() -> None:
    clock = FakeClock()
    slow = {2: 50.0}
    calls = iter(range(1000))
    made, record = loop(clock, [rung(clock, lambda now: slow.get(next(calls), 5.0))])
    made.run(0.3)
    rows = record.table()
    assert column(rows, "number")[:5].tolist() == [0, 1, 2, 4, 5]
    assert latency_ms(rows)[:5].tolist() == [5.0, 5.0, 50.0, 15.0, 5.0]


def test_the_models_deadline_leaves_time_for_what_follows() -> None:
    clock = FakeClock()
    only = rung(clock, lambda now: 1.0, before=1.0, after=3.0)
    made, record = loop(clock, [only], budget=15.0)
    made.run(0.2)
    deadlines = only.model.metadata["deadlines"]
    releases = column(record.table(), "release")
    assert deadlines[0] == releases[0] + 15 * MS  # nothing is known yet
    assert deadlines[1] == releases[1] + 12 * MS
    assert WINDOW > 1


def test_the_ladder_hears_of_every_frame_and_chooses_the_next_model() -> None:
    clock = FakeClock()
    big, small = rung(clock, lambda now: 25.0), rung(clock, lambda now: 5.0)
    ladder = Ladder([10.0, 5.0], Rules(20.0, calm_s=1000.0))
    made, record = loop(clock, [big, small], ladder=ladder)
    made.run(0.5)
    rungs = column(record.table(), "rung").tolist()
    assert rungs[:2] == [0, 0]
    assert set(rungs[2:]) == {1}
    (step,) = ladder.steps
    assert step.second == pytest.approx(0.07)


def test_drops_count_for_the_ladder() -> None:
    clock = FakeClock()
    times = iter([100.0] + [5.0] * 1000)
    ladder = Ladder([10.0, 5.0], Rules(300.0, misses=3, calm_s=1000.0))
    models = [rung(clock, lambda now: next(times)), rung(clock, lambda now: 1.0)]
    made, _ = loop(clock, models, budget=300.0, ladder=ladder)
    made.run(0.5)
    # The first frame kept its budget of 300 ms; the four that came meanwhile were dropped.
    (step,) = ladder.steps
    assert step.why.startswith("3 of ")


def test_other_work_waits_for_free_time_but_not_for_ever() -> None:
    clock = FakeClock()
    done: list[int] = []
    work = {"idle": lambda: done.append(clock.time), "every": 100 * MS}
    made, _ = loop(clock, [rung(clock, lambda now: 5.0)], **work)
    made.run(1.0)
    assert 8 <= len(done) <= 10
    done.clear()
    busy, _ = loop(clock, [rung(clock, lambda now: 19.5)], **work)
    busy.run(10.0)
    assert 3 <= len(done) <= 5


def test_it_stops_when_told_and_when_the_record_is_full() -> None:
    clock = FakeClock()
    made, record = loop(clock, [rung(clock, lambda now: 5.0)])
    made.run(10.0, stopped=lambda: record.count == 3)
    assert record.count == 3
    full = Record(2)
    Loop([rung(clock, lambda now: 1.0)], Scheduled(FRAMES, ""), clock, MS, MS, full).run(10.0)
    assert full.full
    assert not made.ended


def test_it_ends_with_its_source() -> None:
    class Short(Scheduled):
        def next(self) -> object:  # type: ignore[override]
            return None if self._last == 4 else super().next()

    clock = FakeClock()
    record = Record(100)
    short = Loop([rung(clock, lambda now: 1.0)], Short(FRAMES, ""), clock, MS, MS, record)  # type: ignore[arg-type]
    short.run(10.0)
    assert record.count == 5
    assert short.ended
