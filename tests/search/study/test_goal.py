from __future__ import annotations

import pytest

from tvmkd.base.errors import InputError, UsageError
from tvmkd.config.budget import parse_budget
from tvmkd.search.choice import weighted_cost
from tvmkd.search.latency.prediction import Prediction
from tvmkd.search.results import Point
from tvmkd.search.study.goal import Goal, limit


def prediction(ms: float) -> Prediction:
    return Prediction(ms * 1e-3, 0.9 * ms * 1e-3, 1.1 * ms * 1e-3)


def test_the_objectives() -> None:
    assert Goal("accuracy").directions == ["maximize"]
    assert Goal("accuracy", maximize=False).directions == ["minimize"]
    assert Goal("front").directions == ["maximize", "minimize"]
    assert Goal("front").values(0.9, 2.0) == [0.9, 2.0]
    assert Goal("accuracy").values(0.9, 2.0) == [0.9]
    for name in ("accuracy", "front"):
        assert len(Goal(name).names) == len(Goal(name).directions)


def test_weights_cost_what_the_choice_of_the_winner_says() -> None:
    goal = Goal("weighted", 4.0, 2.0, 0.5)
    assert goal.directions == ["minimize"]
    point = Point(number=0, structure={}, state="complete", accuracy=0.9, predicted=3.0)
    assert goal.values(0.9, 3.0) == [weighted_cost(point, 4.0, 2.0, 0.5)]
    with pytest.raises(UsageError, match="--budget 5ms"):
        Goal("weighted")


def test_a_network_is_too_slow_only_if_the_whole_interval_is() -> None:
    goal = Goal("accuracy", 1.0)
    assert goal.hopeless(prediction(1.1)) is None
    assert goal.hopeless(prediction(1.2)) == "is slower than the budget"
    assert goal.excess(1.5) == 0.5
    assert Goal("accuracy").hopeless(prediction(1e9)) is None
    assert Goal("accuracy").excess(1.0) is None


def test_a_weighted_network_loses_if_not_even_a_perfect_score_would_do() -> None:
    goal = Goal("weighted", 1.0, 1.0, 0.2)
    slow = prediction(2.0)  # costs at least 0.2 * 1.8
    assert goal.hopeless(slow, []) is None
    assert goal.hopeless(slow, [0.5, 0.37]) is None
    assert "costs at least 0.36, and 0.35 is known" in str(goal.hopeless(slow, [0.5, 0.35]))
    assert goal.excess(2.0) is None


def test_a_budget_is_of_the_kind_that_the_target_counts() -> None:
    assert limit(parse_budget("800us"), "ms") == 0.8
    assert limit(parse_budget("12M"), "M instructions") == 12.0
    assert limit(None, "ms") is None
    with pytest.raises(InputError, match="12M does not fit: this target's latencies are time"):
        limit(parse_budget("12M"), "ms")
    with pytest.raises(InputError, match=r"5 ms does not fit: .* M MACs, such as 12M"):
        limit(parse_budget("5ms"), "M MACs")
