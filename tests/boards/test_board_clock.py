"""Times during which a board's clock was set."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tvmkd.base.errors import MissingError
from tvmkd.boards import board_clock


def evaluator(*series: list[float], takes: float = 0.0) -> Callable[[], Any]:
    coming = iter(series)

    def evaluate() -> Any:
        time.sleep(takes)
        return SimpleNamespace(results=next(coming))

    return evaluate


@pytest.mark.parametrize("wrong", [[-3600.0, 1e-4], [1e-4, 100.0], [1e-3] * 3])
def test_impossible_times_are_measured_again(wrong: list[float]) -> None:
    assert board_clock.seconds(evaluator(wrong, [1e-6, 2e-6]), 10) == [1e-6, 2e-6]


def test_what_fits_into_the_call_counts() -> None:
    assert board_clock.seconds(evaluator([1e-3, 1e-3], takes=0.02), 10) == [1e-3, 1e-3]


def test_a_clock_that_is_set_all_the_time_is_said() -> None:
    with pytest.raises(MissingError, match=r"clock was set during each of 3 .*ntpd"):
        board_clock.seconds(evaluator(*[[-1.0]] * 3))
