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
    with pytest.raises(ValueError, match="do not pair up: 0 and 0"):
        stats.ratio_ci([], [])


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
    assert stats.builds_error([1.0, np.exp(0.01)]) == pytest.approx(12.7062 * 0.005, rel=1e-5)


def test_order_statistics_are_the_binomial_s() -> None:
    # 100 samples: 50 - 9.8 and 50 + 9.8, rounded outwards.
    assert stats.order_statistic_ci(list(range(100))) == (40.0, 60.0)
    assert stats.order_statistic_ci(list(range(400))) == (180.0, 220.0)
    assert stats.order_statistic_ci([7.0]) == (7.0, 7.0)


def test_student_s_t_is_that_of_a_table() -> None:
    for freedom, value in ((1, 12.7062), (2, 4.30265), (9, 2.26216), (30, 2.04227), (999, 1.96234)):
        assert stats.student_t(freedom) == pytest.approx(value, rel=1e-5)


def test_the_bootstrap_s_interval_is_stretched_on_a_log_scale() -> None:
    # Of 41 replicates the second is the 2.5th percentile.
    replicates = 2.0 * np.exp(np.linspace(-1, 1, 41))
    low, high = stats._interval(2.0, replicates, 10)
    stretch = 2.262157 / 1.96 * np.sqrt(10 / 9)
    assert np.log([low / 2, high / 2]) == pytest.approx([-0.95 * stretch, 0.95 * stretch])
    low, high = stats._interval(2.0, replicates, 2)
    assert np.log(high / 2) == pytest.approx(0.95 * 12.7062 / 1.96 * np.sqrt(2), rel=1e-4)


def test_an_interval_always_holds_its_centre() -> None:
    assert stats._interval(1.0, np.full(40, 2.0), 5)[0] == 1.0
    assert stats._interval(3.0, np.full(40, 2.0), 5)[1] == 3.0


def test_replicates_draw_as_many_rounds_as_there_are() -> None:
    picks = stats._picks(6, seed=0)
    assert picks.shape == (stats.REPLICATES, 6)
    assert set(picks.sum(axis=1)) == {6}
    assert picks.mean(axis=0) == pytest.approx(np.ones(6), abs=0.15)
    assert np.array_equal(picks, stats._picks(6, seed=0))
    assert not np.array_equal(picks, stats._picks(6, seed=1))


def test_medians_do_not_depend_on_how_replicates_are_grouped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = [[3.0, 1.0, 2.0], [5.0, 4.0], [9.0]]
    picks = stats._picks(3, seed=2)
    whole = stats._medians(rounds, picks)
    monkeypatch.setattr(stats, "CHUNK", 42)
    assert np.array_equal(stats._medians(rounds, picks), whole)
    monkeypatch.setattr(stats, "CHUNK", 1)
    assert np.array_equal(stats._medians(rounds, picks), whole)
    assert list(stats._medians(rounds, np.array([[3, 0, 0], [0, 0, 3], [1, 2, 0]]))) == [2, 9, 4]


def test_the_interval_of_a_median_stays_within_the_samples() -> None:
    assert stats.median_ci([[2.0] * 50] * 4) == (2.0, 2.0)
    # Two rounds far apart: the median may be anywhere between them.
    assert stats.median_ci([[1.0] * 50, [3.0] * 50]) == (1.0, 3.0)


def test_equal_rounds_leave_the_error_inside_of_them() -> None:
    one = list(np.linspace(1, 2, 101))
    rounds = [one] * 4
    assert stats.median_ci(rounds) == stats.order_statistic_ci(one * 4)
    low, high = stats.order_statistic_ci(one * 4)
    error = np.hypot((high - low) / 2 / 1.5, (high - low) / 2 / 1.5)
    ratio, interval = stats.ratio_ci([[2 * value for value in one]] * 4, rounds)
    assert ratio == pytest.approx(2.0)
    assert interval == pytest.approx((2.0 / (1 + error), 2.0 * (1 + error)))


def test_a_ratio_of_single_rounds_takes_the_ends_of_both() -> None:
    ours, theirs = list(range(100, 200)), list(range(200, 300))
    ratio, (low, high) = stats.ratio_ci([ours], [theirs])
    assert ratio == 149.5 / 249.5
    assert (low, high) == (140 / 260, 160 / 240)


def test_two_rounds_are_resampled_in_pairs() -> None:
    drift = [1.0, 2.0]
    ours, theirs = [[3.0 * d] * 20 for d in drift], [[1.0 * d] * 20 for d in drift]
    ratio, (low, high) = stats.ratio_ci(ours, theirs)
    assert ratio == 3.0
    # The order-statistic intervals of both are 1 to 2 times, the pairs differ in nothing.
    spread = np.hypot(1 / 2 / 1.5, 1 / 2 / 1.5)
    assert (low, high) == pytest.approx((3 / (1 + spread), 3 * (1 + spread)))


def test_rounds_of_other_seeds_are_other_replicates() -> None:
    rng = np.random.default_rng(4)
    rounds = [list(centre + rng.normal(0, 0.3, 40)) for centre in rng.normal(5, 0.1, 12)]
    assert stats.median_ci(rounds) == stats.median_ci(rounds, seed=0)
    assert stats.median_ci(rounds) != stats.median_ci(rounds, seed=1)
    halves = [[value / 2 for value in one][::-1] for one in rounds[::-1]]
    assert stats.ratio_ci(rounds, halves) == stats.ratio_ci(rounds, halves, seed=0)
    assert stats.ratio_ci(rounds, halves)[1] != stats.ratio_ci(rounds, halves, seed=1)[1]


def test_errors_of_a_logarithm_add_as_independent_ones() -> None:
    low, high = stats.widened(2.0, (1.8, 2.4), 0.1)
    assert low == pytest.approx(2 * np.exp(-np.hypot(np.log(0.9), 0.1)))
    assert high == pytest.approx(2 * np.exp(np.hypot(np.log(1.2), 0.1)))


def test_the_error_over_three_builds() -> None:
    logs = np.array([0.0, 0.01, 0.05])
    deviation = np.sqrt(((logs - 0.02) ** 2).sum() / 2)
    found = stats.builds_error(list(np.exp(logs)))
    assert found == pytest.approx(4.302653 * deviation / np.sqrt(3))
