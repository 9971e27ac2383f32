"""Errors of predictions: larger where neighbours were predicted badly, and far from them."""

from __future__ import annotations

import numpy as np

from tvmkd.search.latency.local_error import LEAST, MOST, LocalError

RNG = np.random.default_rng(1)
COUNT = 600


def world(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, kinds, and errors: ten times as large for points above 50."""
    points = RNG.uniform(0, 100, (count, 2))
    spread = np.where(points[:, 0] > 50, 0.5, 0.05)
    return points, np.full(count, "conv2d"), np.abs(RNG.normal(0, spread))


POINTS, KINDS, ERRORS = world(COUNT)
FITTED = LocalError(POINTS, KINDS, ERRORS, np.arange(COUNT) % 5)


def at(*points: tuple[float, float], kind: str = "conv2d") -> np.ndarray:
    return FITTED.at(np.array(points, float), np.full(len(points), kind))


def test_ninety_percent_intervals_hold_ninety_percent_of_new_errors() -> None:
    points, kinds, errors = world(2000)
    inside = errors < 1.645 * FITTED.at(points, kinds)
    assert 0.86 < inside.mean() < 0.95
    for part in (points[:, 0] > 60, points[:, 0] < 40):
        assert 0.82 < inside[part].mean() < 0.98, "in easy and difficult parts alike"


def test_the_error_is_that_of_the_neighbours() -> None:
    easy, difficult = at((20, 50), (80, 50))
    assert 0.02 < easy < 0.1
    assert 0.3 < difficult < 0.9


def test_it_grows_with_the_distance_up_to_a_limit() -> None:
    near, beyond, far = at((20, 50), (20, 300), (20, 1e9))
    assert near < beyond < far <= MOST
    assert at((20, 50), kind="dense")[0] > 1.5 * near, "another kind is far away"


def test_nothing_is_surer_than_measurements_repeat() -> None:
    exact = LocalError(POINTS, KINDS, np.zeros(COUNT), np.arange(COUNT) % 5)
    assert exact.at(POINTS[:3], KINDS[:3]).tolist() == [LEAST] * 3


def test_missing_features_and_equal_points() -> None:
    points = np.array([[1.0, np.nan]] * 8 + [[2.0, np.nan]] * 2)
    kinds, errors = np.full(10, "dense"), np.full(10, 0.1)
    found = LocalError(points, kinds, errors, np.arange(10) % 5).at(points, kinds)
    assert np.isfinite(found).all()
    assert (found >= LEAST).all()
