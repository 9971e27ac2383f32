from __future__ import annotations

import pytest

from tvmkd.distill import epoch_clock
from tvmkd.distill.epoch_clock import EpochClock
from tvmkd.report import training_page


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock shows: a test moves it."""
    found = [100.0]
    monkeypatch.setattr(epoch_clock.time, "perf_counter", lambda: found[0])
    return found


def epoch(clock: EpochClock, now: list[float]) -> None:
    """Two steps: 2 s for each batch, 3 s forward, 4 s back; then 5 s of evaluation."""

    def batches() -> list[int]:
        return [1, 2]

    def slow() -> object:
        for item in batches():
            now[0] += 2
            yield item

    for _ in clock.waiting(slow()):
        now[0] += 3
        clock.lap(epoch_clock.FORWARD)
        now[0] += 4
        clock.lap(epoch_clock.STEP)
    now[0] += 5
    clock.lap(epoch_clock.EVALUATION)


def test_each_phase_has_its_time(now: list[float]) -> None:
    clock = EpochClock()
    epoch(clock, now)
    assert clock.seconds == {"data": 4.0, "forward": 6.0, "step": 8.0, "evaluation": 5.0}
    assert clock.training == 18.0


def test_the_parts_of_a_step_are_one_phase_where_they_return_before_they_are_done(
    now: list[float],
) -> None:
    clock = EpochClock(asynchronous=True)
    epoch(clock, now)
    assert clock.seconds == {"data": 4.0, "train": 14.0, "evaluation": 5.0}
    assert clock.training == 18.0


def test_the_page_knows_every_phase() -> None:
    names = {value for name, value in vars(epoch_clock).items() if name.isupper() and name != "T"}
    assert names == set(training_page.PHASES)
