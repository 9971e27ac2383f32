"""Which kernels matter: by hand on three networks."""

from __future__ import annotations

import pytest

from tvmkd.search.joint.gains import Gains
from tvmkd.search.joint.importance import (
    NEAR,
    Importance,
    importances,
    most_important,
    potential,
    weigh,
)
from tvmkd.search.joint.protocols import Progress
from tvmkd.search.latency.prediction import Kernel, KernelTime, Prediction


def network(**seconds: float) -> Prediction:
    """A network of measured kernels, each called twice."""
    times = [
        KernelTime(Kernel(key, key, key, 2, 1.0), each, "measured") for key, each in seconds.items()
    ]
    total = sum(2 * each for each in seconds.values())
    return Prediction(total, total, total, times)


TUNED = {"tuned": Progress(10**6, 1.0, 1.0), "fresh": Progress(1, 1.0, 1.0)}
GAINS = Gains(TUNED, {"tuned": "tuned", "fresh": "fresh"})


def test_the_potential_is_what_remains_after_more_trials() -> None:
    share = GAINS.share(network(fresh=1.0).kernels[0], 32)
    assert potential(network(fresh=3.0), GAINS, 32) == pytest.approx(6 * (1 - share))
    assert potential(network(tuned=3.0), GAINS, 32) == pytest.approx(6.0, rel=0.01)


def test_the_front_weighs_most_then_what_may_reach_it() -> None:
    networks = [network(tuned=1.0), network(fresh=1.1), network(tuned=1.1), network(fresh=9.0)]
    assert weigh(networks, [0.8, 0.8, 0.8, 0.8], GAINS, 32) == [1.0, NEAR, 0.0, 0.0]
    assert weigh(networks, [0.8, 0.8, 0.8, 0.9], GAINS, 32) == [1.0, NEAR, 0.0, 1.0]


def test_what_cannot_meet_the_budget_even_tuned_weighs_nothing() -> None:
    networks = [network(tuned=1.0), network(fresh=1.6), network(tuned=1.6)]
    scores = [0.7, 0.8, 0.9]
    assert weigh(networks, scores, GAINS, 32, budget=2.5) == [1.0, 1.0, 0.0]


def test_a_kernels_weight_adds_up_over_networks() -> None:
    networks = [network(fresh=1.0, tuned=3.0), network(fresh=1.0), network(fresh=1.0)]
    found = importances(networks, [1.0, NEAR, 0.0], GAINS, 32)
    share = GAINS.share(networks[1].kernels[0], 32)
    assert found["fresh"].weight == pytest.approx(2 / 8 + NEAR * 2 / 2)
    assert found["fresh"].worth == pytest.approx((2 / 8 + NEAR) * share)
    assert found["tuned"].weight == pytest.approx(2 / 8)


def test_the_most_important_have_the_most_to_gain_not_the_most_time() -> None:
    networks = [network(fresh=1.0, tuned=30.0)]
    found = importances(networks, [1.0], GAINS, 32)
    assert list(most_important(found, 1)) == ["fresh"]
    assert most_important({"b": Importance(1, 2), "a": Importance(3, 2)}, 2) == {"a": 3, "b": 1}
    assert list(most_important({"a": Importance(1, 1)}, 0)) == ["a"]
