"""A machine described by a few rates, fitted to measured kernels."""

from __future__ import annotations

import numpy as np
import pytest

from tvmkd.search.latency import roofline
from tvmkd.search.latency.roofline import BYTES_PER_SECOND, CALL, HERTZ, PARTS, THREADS, parts


def dense(cycles: float, **more: float) -> dict[str, float]:
    """A kernel of 100 results of 50 sums, whose schedule is expected to take so many cycles."""
    return {"expected": cycles, "work": 5000.0, "sums": 50.0, "vectors": 10.0, **more}


def test_an_expectation_stands_for_the_arithmetic_and_what_follows_each_result() -> None:
    alone = dict(zip(PARTS, parts(dense(3e6)), strict=True))
    assert alone.pop("expected") == 3e6 / HERTZ
    assert alone == {"main": 0, "beside": 0, "memory": 0, "threads": 0, "call": CALL}
    assert parts(dense(3e6, threads=1.0)) == parts(dense(3e6)), "waking threads is in it, too"
    followed = dense(3e6, elementwise=2.0, other_work=200.0, instructions=600.0)
    assert parts(followed) == parts(dense(3e6)), "an activation for each result is in it"
    wider = dense(3e6, elementwise=2.0, other_work=10_100.0, instructions=20_200.0)
    assert parts(wider)[2] > 0, "more elements than results are not"


def test_without_an_expectation_sums_and_bytes_count() -> None:
    row = {"work": 6400.0, "sums": 10.0, "vectors": 40.0, "main_instructions": 2.0,
           "input_bytes": 1000.0, "output_bytes": 500.0, "other_work": 640.0,
           "instructions": 1280.0}  # fmt: skip
    _, main, beside, memory, threads, call = parts(row)
    assert main == pytest.approx(40 * 10 / HERTZ)
    assert beside == pytest.approx(1280 * 40 / 640 / 2 / HERTZ)
    assert memory == pytest.approx(1500 / BYTES_PER_SECOND)
    assert (threads, call) == (0, CALL)
    assert parts({**row, "threads": 1.0})[4] == THREADS
    assert parts({"flop": 3.2e9})[1] == pytest.approx(1e8 / HERTZ), "no more is known"
    assert parts({}) == [0, 0, 0, 0, 0, CALL]


def test_a_fit_finds_the_machine_in_spite_of_outliers() -> None:
    rng = np.random.default_rng(0)
    rows = [dense(float(cycles)) for cycles in np.exp(rng.uniform(5, 15, 40))]
    rows += [{"work": 100.0, "input_bytes": float(size)} for size in np.exp(rng.uniform(8, 16, 40))]
    slow = np.array([2.0, 1.0, 1.0, 5.0, 1.0, 3.0])
    seconds = (np.array([parts(row) for row in rows]) * slow).sum(axis=1)
    seconds[::9] *= 20
    found = roofline.fit(rows, seconds)
    assert found.factors[[0, 3, 5]] == pytest.approx(slow[[0, 3, 5]], rel=0.1)
    honest = np.arange(len(rows)) % 9 > 0
    assert np.abs(found.seconds(rows) / seconds - 1)[honest].max() < 0.1
    assert found.shares(rows).sum(axis=1) == pytest.approx(found.seconds(rows))


def test_one_kernel_sets_the_scale_of_all() -> None:
    found = roofline.fit([dense(1e6)], [1e6 / HERTZ * 7])
    assert found.seconds([dense(1e6), dense(4e6)]) * HERTZ == pytest.approx([7e6, 28e6], rel=0.01)
    other = {"input_bytes": 1e8}
    assert found.seconds([other])[0] == pytest.approx(sum(parts(other)) * 7, rel=0.2)
