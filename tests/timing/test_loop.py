from __future__ import annotations

import gc

import fake_clock
import pytest
from fake_clock import FakeClock

from tvmkd.timing import loop

MS = 1_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    return fake_clock.plant(monkeypatch)


def test_times_are_nanoseconds_of_each_call(clock: FakeClock) -> None:
    assert loop.time_calls(clock.taking(2, 10, 3), 3) == [2 * MS, 10 * MS, 3 * MS]


def test_one_call_is_timed_with_its_result(clock: FakeClock) -> None:
    clock.now = 7
    assert loop.timed(clock.taking(2.5)) == (2.5, "result")


def test_a_limit_ends_it_after_the_current_call(clock: FakeClock) -> None:
    assert loop.time_calls(clock.taking(10), 1000, limit_ns=35 * MS) == [10 * MS] * 4
    assert loop.time_calls(clock.taking(10), 1000, limit_ns=30 * MS) == [10 * MS] * 4
    assert loop.time_calls(clock.taking(2), 1000, limit_ns=0) == [2 * MS]
    assert len(loop.time_calls(clock.taking(10), 3, limit_ns=1000 * MS)) == 3


def test_the_real_clock_runs() -> None:
    (taken,) = loop.time_calls(lambda: sum(range(1000)), 1)
    assert taken > 0


def test_collector_is_off_meanwhile_and_on_again_even_after_an_error() -> None:
    seen: list[bool] = []
    loop.time_calls(lambda: seen.append(gc.isenabled()), 2)
    assert seen == [False, False]
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        loop.time_calls(lambda: 1 // 0, 1)
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with loop.collector_off():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_lead_in_makes_at_least_two_calls_and_fills_the_time(clock: FakeClock) -> None:
    assert loop.lead_in(clock.taking(20), at_least_ns=1) == 2
    assert loop.lead_in(clock.taking(1), at_least_ns=20 * MS) == 20
    assert loop.lead_in(clock.taking(1), at_least_ns=20 * MS, calls=30) == 30


def test_warm_up_of_a_steady_call_settles(clock: FakeClock) -> None:
    result = loop.warm_up(clock.taking(1), limit_s=60)
    # The first call, then four blocks of 50 ms.
    assert (result.first_ms, result.calls) == (1.0, 1 + 4 * 50)
    assert (result.stable, result.spread) == (True, 0.0)
    assert (result.seconds, result.call_seconds) == pytest.approx((0.201, 1e-3))


def test_blocks_hold_at_least_three_calls_and_at_most_ten_thousand(clock: FakeClock) -> None:
    assert loop.warm_up(clock.taking(100), limit_s=60).calls == 1 + 4 * 3
    assert loop.warm_up(clock.taking(1e-6), limit_s=60).calls == 1 + 4 * 10_000


def test_warm_up_goes_on_while_a_call_still_gets_faster(clock: FakeClock) -> None:
    first = [9.0] + [9.0] * 5 + [8.0] * 5 + [6.0] * 6 + [5.0] * 8
    result = loop.warm_up(clock.taking(*first, 3.0), limit_s=60)
    assert result.stable
    assert result.call_seconds == pytest.approx(3e-3)
    assert result.first_ms == 9
    assert result.calls > len(first) + 3 * 16


@pytest.mark.parametrize(("slowest", "stable"), [(1.029, True), (1.031, False)])
def test_blocks_within_three_percent_are_stable(
    monkeypatch: pytest.MonkeyPatch, slowest: float, stable: bool
) -> None:
    clock = fake_clock.plant(monkeypatch)
    blocks = iter([1.0, 1.0, slowest, 1.0, 1.0])

    def times_of(_call: object, count: int, _limit: int | None) -> list[int]:
        taken = round(next(blocks) * MS)
        clock.now += taken * count
        return [taken] * count

    result = loop.warm_up(lambda: None, limit_s=0.2, times_of=times_of)
    assert result.stable is stable
    assert result.spread == pytest.approx(slowest - 1)


def test_warm_up_ends_at_its_limit_and_says_so(clock: FakeClock) -> None:
    result = loop.warm_up(clock.taking(*[1.0, 2.0] * 500), limit_s=0.05)
    assert not result.stable
    assert result.seconds >= 0.05
    assert result.calls < 60
