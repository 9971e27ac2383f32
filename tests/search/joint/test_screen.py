"""Which structure to train next: the closed form against random draws, and who is chosen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tvmkd.search.front import hypervolume
from tvmkd.search.joint.candidates import Candidate
from tvmkd.search.joint.screen import Screen, encode, expected_gains
from tvmkd.search.joint.standing import Network
from tvmkd.search.latency.prediction import Kernel


def kernel(flop: float) -> Kernel:
    return Kernel("k", "k", "conv2d", 1, flop)


def candidate(**structure: object) -> Candidate:
    return Candidate(dict(structure), repr(structure), [kernel(1e6)])


def network(score: float, **structure: object) -> Network:
    return Network(dict(structure), repr(structure), [kernel(1e6)], score)


def test_the_closed_form_is_the_mean_over_draws() -> None:
    rng = np.random.default_rng(0)
    past, scores, limit = np.log([1.0, 2.0, 4.0, 3.0]), np.array([0.5, 0.7, 0.8, 0.6]), math.log(8)
    latencies, mean, deviation = np.log([1.5, 5.0, 20.0]), np.array([0.72, 0.7, 0.9]), 0.1
    found = expected_gains(latencies, mean, np.full(3, deviation), past, scores, limit)
    corner = (scores.min(), limit)
    before = hypervolume(scores, past, corner)
    for index in range(3):
        draws = rng.normal(mean[index], deviation, 3_000)
        gained = [
            hypervolume([*scores, draw], [*past, latencies[index]], corner) - before
            for draw in draws
        ]
        assert found[index] == pytest.approx(np.mean(gained), abs=8e-3)
    assert found[0] > found[1] > found[2] == 0.0


def test_the_first_are_spread_over_latencies() -> None:
    pool = [candidate(width=i) for i in range(5)]
    screen, seconds = Screen(), [1.0, 2.0, 4.0, 8.0, 16.0]
    assert screen.choose(pool, seconds, [], []) == 2
    assert screen.choose(pool, seconds, [network(0.5, width=9)], [4.0]) in (0, 4)
    assert Screen(budget=4.0).choose(pool, seconds, [network(0.5, width=9)], [4.0]) == 0
    assert Screen(budget=0.5).choose(pool, seconds, [], []) in range(5)


def test_learns_what_scores_and_takes_the_faster_of_two_alike() -> None:
    past = [network(0.5 + 0.05 * i, width=i + 1, kind="a") for i in range(8)]
    past += [network(0.3 + 0.05 * i, width=i + 1, kind="b") for i in range(8)]
    seconds = [1.0 + i for i in range(8)] * 2
    pool = [
        candidate(width=9, kind="b"),
        candidate(width=9, kind="a"),
        candidate(width=9, kind="a"),
    ]
    assert Screen().choose(pool, [9.0, 9.0, 9.0], past, seconds) == 1
    assert Screen().choose(pool, [9.0, 9.0, 5.0], past, seconds) == 2


def test_if_nothing_meets_the_budget_the_fastest_is_chosen() -> None:
    past = [network(0.5 + 0.05 * i, width=i + 1) for i in range(8)]
    pool = [candidate(width=9), candidate(width=10)]
    screen = Screen(budget=1.0)
    assert screen.choose(pool, [5.0, 3.0], past, [4.0 + i for i in range(8)]) == 1


def test_structures_become_numbers() -> None:
    table = encode(
        [
            candidate(width=1.0, model="a", exits=[1, 2], deep=True),
            candidate(width=2.0, model="b", exits=[3], deep=True),
            candidate(width=4.0, model="b", exits=[], deep=False),
        ]
    )
    assert table.shape[0] == 3
    assert np.isfinite(table).all()
    assert np.allclose(table.mean(axis=0), 0)
    assert len({tuple(row) for row in table}) == 3
    assert encode([candidate(width=1.0)] * 2).shape == (2, 1)
