from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from studies import point

from tvmkd.search.page import agreement


def test_shares_are_of_the_measured_networks() -> None:
    points = [
        point(0, predicted=1.04, measured=1.0, low=0.9, high=1.1),
        point(1, predicted=1.09, measured=1.0, low=1.05, high=1.1),
        point(2, predicted=0.8, measured=1.0),
        point(3, predicted=1.0),
    ]
    told = agreement.judge(points)
    assert told is not None
    assert (told.count, told.inside, told.rank) == (3, 0.5, None)
    assert told.within_5 == pytest.approx(1 / 3)
    assert told.within_10 == pytest.approx(2 / 3)
    assert told.ratio == pytest.approx(1 / 1.04)
    assert agreement.judge(points[3:]) is None


def test_the_rank_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    ours = rng.integers(0, 6, 40).astype(float)
    theirs = ours + rng.normal(0, 2, 40).round()
    got = agreement.rank_correlation(ours, theirs)
    assert got == pytest.approx(stats.spearmanr(ours, theirs).statistic)
    assert agreement.rank_correlation(ours[:2], theirs[:2]) is None
    assert agreement.rank_correlation(np.ones(5), theirs[:5]) is None
