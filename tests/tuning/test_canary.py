from __future__ import annotations

import pytest

from tvmkd.tuning import canary
from tvmkd.tuning.canary import (
    DISTURBED,
    FACTOR,
    LONGEST,
    PATIENCE,
    REMEMBERED,
    USUAL,
    WINDOWS,
    Calm,
)

LEAST = 8e-6
SLOW = 1.01 * DISTURBED * LEAST


class Board:
    """A board that is disturbed while its clock says so; each reading and series takes 0.01 s."""

    def __init__(self, *disturbed: tuple[float, float]) -> None:
        self.now = 0.0
        self.disturbed = disturbed

    @property
    def slow(self) -> bool:
        return any(begin <= self.now < end for begin, end in self.disturbed)

    def canary(self) -> float:
        self.now += 0.01
        return SLOW if self.slow else LEAST

    def series(self) -> list[float]:
        self.now += 0.01
        return [2.5 if self.slow else 1.0]

    def measure(self, least: float | None = None, **more: object) -> tuple[list[float], float]:
        found: tuple[list[float], float] = canary.undisturbed(
            self.series, self.canary, least, lambda: self.now, LONGEST, **more
        )
        return found


def test_an_undisturbed_measurement_has_a_few_series() -> None:
    board = Board()
    assert board.measure() == ([1.0] * WINDOWS, LEAST)
    assert board.now == pytest.approx(0.01 * (1 + 2 * WINDOWS))


@pytest.mark.parametrize(("least", "begin"), [(LEAST, 0.0), (None, 0.015)])
def test_series_beside_a_slow_canary_are_left_out(least: float | None, begin: float) -> None:
    board = Board((begin, 0.5), (0.56, 0.8))
    assert board.measure(least) == ([1.0] * WINDOWS, LEAST)
    assert 0.8 < board.now < 0.9


def test_if_it_stays_slow_the_least_disturbed_counts_and_its_canary_says_so() -> None:
    board = Board((0.0, 1e9))
    assert board.measure(LEAST) == ([2.5], SLOW)
    assert board.now == pytest.approx(LONGEST, abs=0.1)
    # Where nothing else is known that is how the board is.
    assert Board((0.0, 1e9)).measure() == ([2.5] * WINDOWS, SLOW)


def test_one_series_is_enough_where_it_says_all() -> None:
    board = Board((0.0, 0.1))
    assert board.measure(LEAST, enough=lambda found: found[0] < 2) == ([1.0], LEAST)


def test_what_earlier_sessions_saw_is_the_usual() -> None:
    lines = [
        {"board": "a:1", canary.FACT: 2 * LEAST},
        {"board": "a:2", canary.FACT: LEAST},
        {"board": "b:1", canary.FACT: None},
        {"board": None},
    ]
    known = canary.usual(lines)
    assert known == {"a": LEAST}
    calm = Calm(known)
    assert calm.params("a:3") == {"usual": LEAST, "patience": LONGEST}
    assert calm.params("b:1")["usual"] is None
    calm.measured("b:1", 3.0, 0.1)
    calm.measured("b:2", 2.0, 0.1)
    calm.measured("b:2", None, 0.1)
    assert calm.params("b:1")["usual"] == 2.0


def test_a_board_that_stays_slow_is_taken_as_it_is_in_the_end() -> None:
    calm = Calm({"a": LEAST})
    for _ in range(REMEMBERED - 1):
        calm.measured("a:1", SLOW, USUAL)
    assert calm.params("a:1")["usual"] == LEAST
    calm.measured("a:1", SLOW, USUAL)
    assert calm.params("a:1")["usual"] == SLOW


def test_waiting_takes_a_few_times_as_long_as_measuring_at_most() -> None:
    calm, waited = Calm(), list[float]()
    for _ in range(100):
        patience = calm.params("a:1")["patience"]
        assert patience is not None
        waited.append(patience)
        calm.measured("a:1", SLOW, USUAL + patience)
    assert waited[0] == LONGEST
    assert sum(waited) == pytest.approx(PATIENCE + FACTOR * 100 * USUAL, rel=0.02)
