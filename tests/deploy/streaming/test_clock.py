from __future__ import annotations

import time

import pytest

from tvmkd.deploy.streaming.clock import MonotonicClock


def test_it_is_the_monotonic_clock() -> None:
    before = time.monotonic_ns()
    assert before <= MonotonicClock().now() <= time.monotonic_ns()


@pytest.mark.parametrize("library", [True, False], ids=["clock_nanosleep", "sleep"])
def test_a_wait_ends_after_its_time_and_not_much_later(library: bool) -> None:
    clock = MonotonicClock()
    if not library:
        clock._sleep = None
    when = clock.now() + 20_000_000
    clock.wait_until(when)
    assert when <= clock.now() < when + 1_000_000_000


def test_what_has_passed_is_not_waited_for() -> None:
    clock = MonotonicClock()
    begin = clock.now()
    clock.wait_until(begin - 5_000_000_000)
    assert clock.now() - begin < 1_000_000_000
