from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tvmkd.search.study.goal import Goal
from tvmkd.search.supernet.ranking import Judged, Ranking, crowding


def judged(key: str, score: float | None, predicted: float | None, **more: Any) -> Judged:
    return Judged(key, {}, predicted=predicted, score=score, **more)


def order(ranking: Ranking, *found: Judged) -> str:
    return "".join(each.key for each in ranking(found))


def test_within_the_budget_the_most_accurate_and_of_those_the_fastest() -> None:
    found = (
        judged("a", 0.9, 2.0),
        judged("b", 0.95, 4.0),
        judged("c", 0.95, 3.0),
        judged("d", None, 9.0),
        judged("e", None, 6.0),
        judged("f", None, None, error="fails"),
        judged("g", None, 1.0, error="its score is nan"),
    )
    assert order(Ranking(Goal("accuracy", 5.0)), *found) == "cba" + "edfg"
    assert order(Ranking(Goal("accuracy", 5.0, maximize=False)), *found)[:3] == "acb"
    assert order(Ranking(Goal("accuracy")), *found)[:3] == "cba"


def test_the_budget_itself_is_within_it() -> None:
    ranking = Ranking(Goal("accuracy", 5.0))
    assert ranking.excess(judged("a", 0.9, 5.0)) == 0
    assert ranking.excess(judged("a", 0.9, 6.0)) == pytest.approx(0.2)
    assert ranking.excess(judged("a", 0.9, None)) == math.inf
    assert ranking.excess(judged("a", 0.9, math.nan)) == math.inf


def test_where_nothing_is_measured_the_high_end_has_to_meet_it() -> None:
    near = judged("a", 0.9, 4.9, high=5.5)
    assert Ranking(Goal("accuracy", 5.0)).excess(near) == 0
    assert Ranking(Goal("accuracy", 5.0), sure=True).excess(near) == pytest.approx(0.1)


def test_weighted_has_no_limit() -> None:
    ranking = Ranking(Goal("weighted", 5.0, alpha=1.0, beta=0.1))
    slow, fast = judged("s", 0.95, 10.0), judged("f", 0.9, 1.0)
    assert ranking.excess(slow) == 0
    # 0.05 + 0.2 against 0.1 + 0.02.
    assert order(ranking, slow, fast) == "fs"
    assert order(Ranking(Goal("weighted", 5.0, alpha=10.0, beta=0.1)), slow, fast) == "sf"


def test_a_front_is_sorted_front_by_front_and_lonely_ones_first() -> None:
    found = (
        judged("a", 0.5, 1.0),
        judged("b", 0.7, 2.0),
        judged("c", 0.72, 2.1),
        judged("d", 0.9, 4.0),
        judged("x", 0.6, 3.0),
        judged("y", 0.4, 3.5),
        judged("z", 0.8, 9.0),
    )
    # c is farther from its neighbours than b; x is beaten by b alone, y by x too; z is too slow.
    assert order(Ranking(Goal("front", 5.0)), *found) == "adcbxyz"


def test_crowding_by_hand() -> None:
    found = crowding(np.array([0.0, 0.5, 0.6, 1.0]), np.array([0.0, 1.0, 2.0, 10.0]))
    assert found[[0, 3]].tolist() == [math.inf, math.inf]
    assert found[1:3].tolist() == pytest.approx([0.6 + 0.2, 0.5 + 0.9])
    assert crowding(np.array([0.5]), np.array([1.0])).tolist() == [math.inf]
    assert np.isfinite(crowding(np.ones(3), np.ones(3))[1])
