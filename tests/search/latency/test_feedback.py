from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tvmkd.base.errors import InputError
from tvmkd.search.latency import feedback
from tvmkd.search.latency.prediction import Prediction

PREDICTION = Prediction(2e-3, 1.9e-3, 2.2e-3)


def times(median: float, count: int = 200, spread: float = 0.05, seed: int = 0) -> list[float]:
    noise = np.random.default_rng(seed).normal(0, spread, count)
    return list(median * np.exp(noise - np.median(noise)))


def test_a_table_that_is_right_holds() -> None:
    verdict = feedback.judge(times(2.06e-3), PREDICTION)
    assert verdict.ratio == pytest.approx(1.03)
    assert verdict.low < 1.03 < verdict.high
    assert verdict.allowed == (0.95, pytest.approx(1.1))
    assert (verdict.holds, verdict.certain, verdict.count) == (True, True, 200)
    facts, line = verdict.lines("tvmkd latency table")
    assert facts.startswith("200 times, median 2.06 ms; predicted 2 ms: ratio 1.030 (95% interval ")
    assert line == "holds"
    assert json.loads(json.dumps(verdict.to_json()))["holds"] is True


@pytest.mark.parametrize(("median", "text"), [(2.6e-3, "+30.0%"), (1.4e-3, "-30.0%")])
def test_one_that_has_drifted_does_not(median: float, text: str) -> None:
    verdict = feedback.judge(times(median), PREDICTION)
    assert not verdict.holds
    line = verdict.lines("tvmkd latency table --records t")[1]
    assert line == f"drifted by {text}: measure again with: tvmkd latency table --records t"


def test_a_small_deviation_is_no_drift_however_narrow_the_prediction() -> None:
    narrow = Prediction(2e-3, 1.999e-3, 2.001e-3)
    assert feedback.judge(times(2.06e-3, spread=1e-4), narrow).holds
    assert not feedback.judge(times(2.12e-3, spread=1e-4), narrow).holds


def test_noisy_times_cannot_refute_a_prediction() -> None:
    verdict = feedback.judge(times(2.3e-3, count=20, spread=0.4), PREDICTION)
    assert verdict.holds
    assert not verdict.certain
    assert "as far as these times can tell" in verdict.lines("")[1]


def test_slow_changes_widen_the_interval() -> None:
    # The same values in an order in which neighbours are alike tell less than shuffled ones.
    values = sorted(times(2e-3, spread=0.2))
    wave = [*values[::2], *values[1::2][::-1]]
    shuffled = list(np.random.default_rng(1).permutation(values))
    slow, quick = (feedback.judge(each, PREDICTION) for each in (wave, shuffled))
    assert slow.high - slow.low > 1.5 * (quick.high - quick.low)


def test_a_change_over_time_is_told_apart_from_noise() -> None:
    hours = np.linspace(0, 4 * 3600, 300)
    rising = np.array(times(2e-3, 300, 0.02, 1)) * 1.2 ** np.linspace(0, 1, 300)
    mixed = np.random.default_rng(0).permutation(300)
    verdict = feedback.judge(rising[mixed], PREDICTION, list(hours[mixed]))
    assert verdict.trend is not None
    assert verdict.trend.hours == pytest.approx(4)
    assert verdict.trend.change == pytest.approx(0.2, abs=0.03)
    assert verdict.trend.low < 0.2 < verdict.trend.high
    assert verdict.trend.shows
    assert "over 4 hours: +" in verdict.lines("")[2]
    still = feedback.judge(times(2e-3, 300, 0.02), PREDICTION, list(hours))
    assert still.trend is not None
    assert not still.trend.shows
    at_once = feedback.judge(times(2e-3, 300), PREDICTION, [0.0] * 300)
    assert at_once.trend is None


def test_counted_times_are_known_to_their_buckets() -> None:
    limits = [0.0, 1e-3, 2.5e-3, 5e-3, math.inf]
    verdict = feedback.judge_histogram(limits, [10, 980, 8, 2], PREDICTION)
    assert (verdict.low, verdict.high) == (0.5, 1.25)
    assert 0.5 < verdict.ratio < 1.25
    assert verdict.holds
    assert not verdict.certain
    exact = feedback.judge_histogram(limits, [10, 980, 8, 2], PREDICTION, 2.2e-3)
    assert exact.seen == 2.2e-3
    slow = feedback.judge_histogram(limits, [0, 10, 990, 0], PREDICTION)
    assert not slow.holds
    # On the border of two buckets the median may be in either.
    between = feedback.judge_histogram(limits, [0, 500, 500, 0], PREDICTION)
    assert (between.low, between.high) == (0.5, 2.5)
    with pytest.raises(InputError, match="half of the times are above 5 ms"):
        feedback.judge_histogram(limits, [1, 1, 1, 97], PREDICTION)


def test_fine_buckets_agree_with_the_times_themselves() -> None:
    seen = times(2.05e-3, 2000)
    limits = np.linspace(1e-3, 4e-3, 601)
    counts = [int(count) for count in np.histogram(seen, limits)[0]]
    known = feedback.judge(seen, PREDICTION)
    verdict = feedback.judge_histogram(list(limits), counts, PREDICTION)
    assert verdict.ratio == pytest.approx(known.ratio, rel=5e-3)
    assert verdict.low == pytest.approx(known.low, rel=1e-2)
    assert verdict.high == pytest.approx(known.high, rel=1e-2)


def test_too_few_times_and_times_of_something_else_are_refused() -> None:
    with pytest.raises(InputError, match="19 times were seen, and fewer than 20"):
        feedback.judge([1e-3] * 19, PREDICTION)
    with pytest.raises(InputError, match="0 times were seen"):
        feedback.judge_histogram([0.0, 1.0], [0], PREDICTION)
    with pytest.raises(InputError, match=r"1e\+03 times the prediction"):
        feedback.judge(times(2.0), PREDICTION)
