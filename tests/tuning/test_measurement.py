from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvmkd.tuning.measurement import RunJob, RunResult, figure


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=12))
def test_the_figure_is_a_low_value_but_not_an_outlier(seconds: list[float]) -> None:
    value = figure(seconds)
    assert value is not None
    assert value in seconds
    below = sum(other < value for other in seconds)
    assert below <= (len(seconds) - 1) // 4


@pytest.mark.parametrize(
    ("seconds", "value"),
    [
        (None, None),
        ([], None),
        ([3.0], 3.0),
        ([4.0, 3.0], 3.0),
        ([4.0, 3.0, 2.0, 1.0], 1.0),
        ([5.0, 4.0, 3.0, 2.0, 1.0], 2.0),
        ([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 2.0),
        ([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 3.0),
    ],
)
def test_the_figure_is_the_lower_quartile_by_hand(
    seconds: list[float] | None, value: float | None
) -> None:
    assert figure(seconds) == value
    assert RunResult(seconds, None, None, None, 0.0).figure == value


def test_a_job_knows_no_best_and_no_plain_loops_unless_it_is_given_them() -> None:
    job = RunJob(Path("k.so"), [])
    assert job.best() is None
    assert job.plain is None
