from __future__ import annotations

import pytest
import studies
from studies import point

from tvmkd.search import choice


def numbers(points: list[choice.Point]) -> list[int]:
    return [each.number for each in points]


def test_the_most_accurate_within_the_budget_wins() -> None:
    points = [
        point(0, 0.90, measured=1.0),
        point(1, 0.95, measured=4.0),
        point(2, 0.95, measured=3.0),
        point(3, 0.99, measured=5.1),
    ]
    found = choice.choose(points, "accuracy", budget=5.0)
    assert found.winner == points[2], "equally accurate, and faster"
    assert found.unsure == []
    assert found.fastest == points[0]
    assert choice.choose(points, "accuracy").winner == points[3]


def test_an_interval_across_the_budget_must_be_measured() -> None:
    points = [
        point(0, 0.90, predicted=3.0, low=2.8, high=3.3),
        point(1, 0.95, predicted=4.9, low=4.6, high=5.2),
        point(2, 0.97, predicted=5.2, low=4.9, high=5.5),
        point(3, 0.99, predicted=6.0, low=5.8, high=6.3),
        point(4, 0.80, predicted=4.9, low=4.6, high=5.2),
    ]
    found = choice.choose(points, "accuracy", budget=5.0)
    assert found.winner == points[0]
    assert numbers(found.unsure) == [2, 1], "best first; 3 is too slow, 4 would not win"
    measured = [*points[:2], points[2].model_copy(update={"measured": 4.95}), *points[3:]]
    found = choice.choose(measured, "accuracy", budget=5.0)
    assert (found.winner, found.unsure) == (measured[2], [])


def test_a_prediction_without_interval_counts_as_it_is() -> None:
    assert choice.within(point(0, 0.9, predicted=5.0), 5.0)
    assert not choice.within(point(0, 0.9, predicted=5.1), 5.0)
    assert not choice.undecided(point(0, 0.9, predicted=5.1), 5.0)
    assert not choice.undecided(point(0, 0.9, predicted=5.1), None)
    assert not choice.within(point(0, 0.9), 5.0)
    assert not choice.within(point(0, 0.9, predicted=4.0, high=4.2, measured=5.1), 5.0)


def test_nothing_within_the_budget_still_names_the_fastest() -> None:
    points = [point(0, 0.9, measured=7.0), point(1, 0.8, measured=6.0)]
    assert choice.choose(points, "accuracy", budget=5.0) == choice.Choice(None, [], points[1])
    assert choice.choose([], "accuracy", budget=5.0) == choice.Choice()
    assert choice.choose([point(0, state="failed")], "front") == choice.Choice()


@pytest.mark.parametrize(("beta", "winner"), [(0.0, 2), (0.02, 1), (1.0, 0)])
def test_the_weighted_sum_trades_latency_for_accuracy(beta: float, winner: int) -> None:
    points = [
        point(0, 0.90, measured=1.0),
        point(1, 0.95, measured=2.0),
        point(2, 0.96, measured=8.0),
    ]
    for budget in (5.0, None):
        found = choice.choose(points, "weighted", budget=budget, alpha=1.0, beta=beta)
        assert found.winner == points[winner]
    errors = [
        each.model_copy(update={"accuracy": 1 - accuracy})
        for each, accuracy in zip(points, (0.90, 0.95, 0.96), strict=True)
    ]
    found = choice.choose(errors, "weighted", budget=5.0, beta=beta, maximize=False)
    assert found.winner == errors[winner]
    assert choice.weighted_cost(points[1], 5.0, 2.0, 3.0) == pytest.approx(2 * 0.05 + 3 * 0.4)


def test_the_front_is_answered_by_its_knee_within_the_budget() -> None:
    line = [(0.5, 1.0), (0.9, 2.0), (0.92, 6.0), (0.93, 10.0)]
    points = [point(i, a, measured=c) for i, (a, c) in enumerate(line)]
    assert choice.choose(points, "front", budget=8.0).winner == points[1]
    assert choice.choose(points, "front", budget=1.5).winner == points[0]
    open_one = point(9, 0.95, predicted=8.0, low=7.5, high=8.5)
    assert choice.choose([*points, open_one], "front", budget=8.0).unsure == [open_one]


def test_a_studys_own_objective_counts() -> None:
    points = [point(0, 0.2, measured=1.0), point(1, 0.1, measured=2.0), point(2, 0.0, measured=9.0)]
    made = studies.study(points, maximize=False, budget=5.0)
    assert choice.of_study(made).winner == points[1]
    weighted = studies.study(
        points, maximize=False, budget=5.0, objective="weighted", alpha=0.1, beta=1.0
    )
    assert choice.of_study(weighted).winner == points[0]
