from __future__ import annotations

import itertools

import numpy as np
import pytest

from tvmkd.base.exits import NEVER
from tvmkd.early_exit.assignment import assign, thresholds_of
from tvmkd.early_exit.calibrate import leave


def test_thresholds_lie_between_images() -> None:
    first, second = np.array([0.9, 0.5, 0.7, 0.1]), np.array([0.2, 0.8, 0.3, 0.4])
    found = thresholds_of([first, second], (0.5, 0.25, 0.25))
    assert found == pytest.approx((0.6, 0.6))
    assert leave([first, second], found).tolist() == [0, 1, 0, 2]


def test_where_all_or_none_leave() -> None:
    own = [np.array([0.3, 0.4]), np.array([0.3, 0.4])]
    assert thresholds_of(own, (1.0, 0.0, 0.0)) == (0.0, NEVER)
    assert thresholds_of(own, (0.0, 1.0, 0.0)) == (NEVER, 0.0)
    assert thresholds_of(own, (0.0, 0.0, 1.0)) == (NEVER, NEVER)


def test_equal_scores_leave_together() -> None:
    own = np.array([0.5, 0.5, 0.5, 0.2])
    (threshold,) = thresholds_of([own], (0.25, 0.75))
    assert leave([own], [threshold]).tolist() == [0, 0, 0, 1]
    # Between neighbouring numbers there is no middle; rounded above 1 it is 1.
    close = np.array([1.0, np.nextafter(1.0, 0)])
    assert thresholds_of([close], (0.5, 0.5)) == (1.0,)
    assert thresholds_of([np.array([np.nextafter(1, 2), 0.999999])], (0.5, 0.5))[0] <= 1


def images(count: int, exits: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    sure = rng.random((exits, count))
    right = rng.random((exits, count)) < 0.3 + 0.7 * sure
    right[-1] |= rng.random(count) < 0.7
    return list(sure[:-1]), right, sure


@pytest.mark.parametrize("budget", [1.0, 1.5, 2.0, 3.2, 4.0])
def test_with_two_branches_it_is_the_best_of_all_rules(budget: float) -> None:
    scores, right, sure = images(16, 3)
    costs = [1.0, 2.0, 4.0]
    shares = assign(scores, right, sure, costs, budget)
    assert sum(shares) == pytest.approx(1.0)
    assert np.dot(shares, costs) <= budget + 1e-9

    def lost(exits: np.ndarray) -> int:
        return int((right[-1] & ~right[exits, np.arange(16)]).sum())

    choices = [sorted({*found.tolist(), NEVER}) for found in scores]
    rules = [leave(scores, each) for each in itertools.product(*choices)]
    best = min(lost(each) for each in rules if np.asarray(costs)[each].mean() <= budget + 1e-9)
    assert lost(leave(scores, thresholds_of(scores, shares))) == best


@pytest.mark.parametrize("exits", [2, 3, 5])
def test_a_larger_budget_loses_fewer(exits: int) -> None:
    scores, right, sure = images(60, exits)
    costs = [float(each) for each in range(1, exits + 1)]
    lost = []
    for budget in (1.0, 1.3, 1.7, float(exits)):
        shares = assign(scores, right, sure, costs, budget)
        assert np.dot(shares, costs) <= budget + 1e-9
        taken = leave(scores, thresholds_of(scores, shares))
        lost.append(int((right[-1] & ~right[taken, np.arange(60)]).sum()))
    assert lost == sorted(lost, reverse=True)
    assert lost[-1] == 0 < lost[0]


def test_what_is_left_of_the_budget_goes_to_surer_exits() -> None:
    """No image is lost in any way; the exit that is surer is taken as far as the mean allows."""
    right = np.ones((2, 4), bool)
    sure = np.array([[0.6, 0.7, 0.8, 0.9], [0.95, 0.95, 0.95, 0.95]])
    assert assign([sure[0]], right, sure, [1.0, 3.0], 2.0) == (0.5, 0.5)
    assert assign([sure[0]], right, sure, [1.0, 3.0], 1.0) == (1.0, 0.0)
    assert assign([sure[0]], right, sure, [1.0, 3.0], 9.0) == (0.0, 1.0)
