from __future__ import annotations

import math

import pytest
import samples

from tvmkd.suites import figures


def test_means_are_geometric_and_over_what_an_engine_ran() -> None:
    first = samples.comparison(
        samples.engine("a", 1.0, spread=0), samples.engine("b", 2.0, spread=0)
    )
    second = samples.comparison(
        samples.engine("a", 8.0, spread=0),
        samples.engine("b", 1.0, spread=0),
        samples.engine("c", 3.0, spread=0),
    )
    compared = [("one", first), ("two", second)]
    a, b, c = (figures.mean_ratio(compared, name) for name in "abc")
    assert a.ratio == pytest.approx(math.sqrt(8))
    assert b.ratio == pytest.approx(math.sqrt(2))
    assert c.ratio == pytest.approx(3)
    assert [(mean.networks, mean.fastest) for mean in (a, b, c)] == [(2, 1), (2, 1), (1, 0)]
    # Those that ran everywhere come first, then the faster one.
    assert figures.engines(compared) == ["b", "a", "c"]


def test_engines_within_three_percent_are_level() -> None:
    close = samples.comparison(
        samples.engine("a", 1.0, spread=0),
        samples.engine("b", 1.02, spread=0),
        samples.engine("c", 2.0, spread=0),
    )
    clear = samples.comparison(
        samples.engine("a", 1.0, spread=0), samples.engine("b", 1.5, spread=0)
    )
    assert [figures.standing(close, name) for name in "abc"] == ["level", "level", "behind"]
    assert [figures.standing(clear, name) for name in "ab"] == ["fastest", "behind"]
    assert figures.mean_ratio([("one", close), ("two", clear)], "b").fastest == 1


def test_a_wide_interval_makes_no_slow_engine_level() -> None:
    close = samples.comparison(
        samples.engine("a", 1.0, spread=0), samples.engine("b", 5.0, spread=0)
    )
    (pair,) = close.verdict.pairs
    pair.decided = False
    assert [figures.standing(close, name) for name in "ab"] == ["fastest", "unclear"]
    pair.ratio = 1.05
    assert [figures.standing(close, name) for name in "ab"] == ["level", "level"]


def test_an_engine_that_ran_nowhere_has_no_mean() -> None:
    mean = figures.mean_ratio([], "a")
    assert math.isnan(mean.ratio)
    assert mean.networks == 0
