"""When a board gets work and when it rests, without a board."""

from __future__ import annotations

import pytest

from tvmkd.tuning.quarantine import LONGEST_REST, MOST_FAILURES, REST_SECONDS, Quarantine


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def fail(quarantine: Quarantine, times: int) -> float | None:
    rest = None
    for _ in range(times):
        rest = quarantine.failed("a:1")
    return rest


def test_failures_in_a_row_take_a_board_out_and_it_comes_back() -> None:
    clock = Clock()
    quarantine = Quarantine({}, clock)
    assert fail(quarantine, MOST_FAILURES - 1) is None
    assert quarantine.rest("a:1") == 0
    assert fail(quarantine, 1) == REST_SECONDS
    assert quarantine.rest("a:1") == REST_SECONDS
    assert quarantine.rest("b:1") == 0
    clock.now += REST_SECONDS
    assert quarantine.rest("a:1") == 0
    assert fail(quarantine, MOST_FAILURES) == 2 * REST_SECONDS, "the second rest is longer"
    for _ in range(9):
        rest = fail(quarantine, MOST_FAILURES)
    assert rest == LONGEST_REST
    quarantine.succeeded("a:1")
    assert fail(quarantine, MOST_FAILURES) == REST_SECONDS, "a success makes it as good as new"


def test_what_was_the_candidates_doing_is_forgiven() -> None:
    quarantine = Quarantine({}, Clock())
    for _ in range(10):
        assert quarantine.failed("a:1") is None
        quarantine.forgiven("a:1")


def test_a_refused_board_gets_no_work_ever_and_is_news_once() -> None:
    quarantine = Quarantine({}, Clock())
    assert quarantine.refuse("a:1", "it is x86_64")
    assert not quarantine.refuse("a:1", "it is x86_64")
    assert quarantine.rest("a:1") == float("inf")
    assert quarantine.refusals() == ["it is x86_64"]


@pytest.mark.parametrize(
    ("telemetry", "resting", "hot"),
    [
        ({"celsius": 79.9, "throttled": False}, False, False),
        ({"celsius": 80.0, "throttled": False}, False, True),
        ({"celsius": 70.0, "throttled": True}, False, True),
        ({"celsius": 70.0, "throttled": False}, True, True),
        ({"celsius": 64.9, "throttled": True}, True, False),
        ({"celsius": None, "throttled": None}, False, False),
        ({}, True, False),
    ],
)
def test_a_hot_board_rests_until_it_is_clearly_cooler(
    telemetry: dict[str, float], resting: bool, hot: bool
) -> None:
    quarantine = Quarantine({"pause_celsius": 80.0, "resume_celsius": 65.0})
    assert quarantine.too_hot(telemetry, resting=resting) == hot
    assert not Quarantine({}).too_hot({"celsius": 120.0, "throttled": True}, resting=resting)
