from __future__ import annotations

import gc
import itertools
import time

import pytest

from tvmkd.timing import loop


def test_times_are_nanoseconds_of_each_call() -> None:
    pauses = iter([0.002, 0.010, 0.002])
    times = loop.time_calls(lambda: time.sleep(next(pauses)), 3)
    assert len(times) == 3
    assert all(value >= 2_000_000 for value in times)
    assert times[1] >= 10_000_000


def test_a_limit_ends_it_after_the_call_in_hand() -> None:
    times = loop.time_calls(lambda: time.sleep(0.01), 1000, limit_ns=35_000_000)
    assert 1 <= len(times) <= 4
    assert all(times)
    assert len(loop.time_calls(lambda: time.sleep(0.002), 1000, limit_ns=0)) == 1


def test_collector_waits_and_comes_back_even_after_an_error() -> None:
    seen = []
    loop.time_calls(lambda: seen.append(gc.isenabled()), 2)
    assert seen == [False, False]
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        loop.time_calls(lambda: 1 // 0, 1)
    assert gc.isenabled()


def test_lead_in_makes_at_least_two_calls_and_fills_the_time() -> None:
    assert loop.lead_in(lambda: time.sleep(0.02), at_least_ns=1) == 2
    assert loop.lead_in(lambda: time.sleep(0.001), at_least_ns=20_000_000) >= 5


def test_warm_up_of_a_steady_call_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "time_calls", lambda call, count, limit=None: [1_000_000] * count)
    result = loop.warm_up(lambda: None, limit_s=60)
    assert result["stable"]
    assert result["spread"] == 0
    assert result["call_seconds"] == pytest.approx(1e-3)
    # The first call, then four blocks of 50 ms.
    assert result["calls"] == 1 + 4 * 50


def test_warm_up_waits_while_a_call_still_gets_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = itertools.chain([9, 8, 6, 5, 4], itertools.repeat(3))
    monkeypatch.setattr(
        loop, "time_calls", lambda call, count, limit=None: [next(speeds) * 1_000_000] * count
    )
    result = loop.warm_up(lambda: None, limit_s=60)
    assert result["stable"]
    assert result["call_seconds"] == pytest.approx(3e-3)
    assert result["first_ms"] == 9


def test_warm_up_gives_up_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = itertools.cycle([1, 2])
    monkeypatch.setattr(
        loop, "time_calls", lambda call, count, limit=None: [next(speeds) * 1_000_000] * count
    )
    result = loop.warm_up(lambda: None, limit_s=0.05)
    assert not result["stable"]
    assert result["spread"] == pytest.approx(1.0)
