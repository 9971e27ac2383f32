from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvmkd.timing import stats

TRIALS = 150


def test_percentile() -> None:
    assert stats.percentile([1, 2, 3, 4], 50) == 2.5
    assert stats.percentile(list(range(101)), 99) == 99


@given(st.lists(st.lists(st.floats(0.01, 1e3), min_size=3, max_size=12), min_size=2, max_size=8))
@settings(max_examples=25, deadline=None)
def test_weighted_medians_are_the_medians_of_the_resampled_rounds(
    rounds: list[list[float]],
) -> None:
    picks = stats._picks(len(rounds), seed=1)[:5]
    for row, found in zip(picks, stats._medians(rounds, picks), strict=True):
        pooled = np.sort(np.concatenate([np.tile(r, n) for r, n in zip(rounds, row, strict=True)]))
        assert found == pooled[(len(pooled) + 1) // 2 - 1]


def _drifting(rng: np.random.Generator, centre: float, drift: np.ndarray) -> list[np.ndarray]:
    return [centre * d * np.exp(rng.normal(0, 0.05, 40)) for d in drift]


def test_interval_of_the_median_holds_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(TRIALS):
        rounds = _drifting(rng, 2.0, np.exp(rng.normal(0, 0.03, 10)))
        low, high = stats.median_ci(rounds)
        hits += low <= 2.0 <= high
    assert hits / TRIALS >= 0.92


def test_interval_of_the_ratio_holds_it_while_the_machine_drifts() -> None:
    rng = np.random.default_rng(1)
    hits, widths = 0, []
    for _ in range(TRIALS):
        # Both engines of a round see the same clock: a swing of 10% that the ratio must not feel.
        drift = np.exp(rng.normal(0, 0.1, 10))
        ours, theirs = _drifting(rng, 1.2, drift), _drifting(rng, 1.0, drift)
        ratio, (low, high) = stats.ratio_ci(ours, theirs)
        assert low <= ratio <= high
        hits += low <= 1.2 <= high
        widths.append(high - low)
    assert hits / TRIALS >= 0.92
    assert np.median(widths) < 0.15


def test_one_round_falls_back_to_order_statistics() -> None:
    rng = np.random.default_rng(2)
    samples = rng.normal(5, 1, 400)
    assert stats.median_ci([samples]) == stats.order_statistic_ci(samples)
    ratio, (low, high) = stats.ratio_ci([samples], [samples * 2])
    assert ratio == pytest.approx(0.5)
    assert low < 0.5 < high


def test_order_statistics_of_very_few_samples_are_their_range() -> None:
    assert stats.order_statistic_ci([3.0, 1.0, 2.0]) == (1.0, 3.0)


def test_rounds_that_do_not_pair_up_are_refused() -> None:
    with pytest.raises(ValueError, match="do not pair up: 2 and 1"):
        stats.ratio_ci([[1.0], [1.0]], [[1.0]])


def test_an_interval_with_builds_in_it_holds_what_builds_differ_by() -> None:
    rng = np.random.default_rng(3)
    hits = alone = 0
    for _ in range(TRIALS):
        builds = np.exp(rng.normal(0, 0.05, 3))
        centre = float(np.median(builds))
        narrow = (centre * 0.999, centre * 1.001)
        low, high = stats.widened(centre, narrow, stats.builds_error(list(builds)))
        assert low < narrow[0] < narrow[1] < high
        hits += low <= 1.0 <= high
        alone += narrow[0] <= 1.0 <= narrow[1]
    assert hits / TRIALS >= 0.92
    assert alone / TRIALS < 0.2


def test_builds_that_are_alike_or_alone_add_nothing() -> None:
    assert stats.builds_error([2.0]) == stats.builds_error([2.0, 2.0, 2.0]) == 0.0
    assert stats.widened(1.5, (1.4, 1.7), 0.0) == pytest.approx((1.4, 1.7))
    # Two builds: Student's t of one degree of freedom.
    assert stats.builds_error([1.0, np.exp(0.01)]) == pytest.approx(12.71 * 0.005)
