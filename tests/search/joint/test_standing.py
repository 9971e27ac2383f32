"""Fronts of networks, and when one stands still."""

from __future__ import annotations

from collections.abc import Sequence

import simulated

from tvmkd.search.joint.standing import Network, Standing
from tvmkd.search.latency.prediction import Kernel, Prediction


class Fixed:
    """Predicts what it is told, within 10 %."""

    def __init__(self, *seconds: float) -> None:
        self._seconds = seconds

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        each = self._seconds[kernels[0].calls]
        return Prediction(each, each / 1.1, each * 1.1)


def network(index: int, score: float) -> Network:
    return Network({"n": index}, str(index), [Kernel("", "", "", index, 1.0)], score)


NETWORKS = [network(0, 0.7), network(1, 0.9), network(2, 0.6)]


def test_the_front_is_fastest_first() -> None:
    standing = Standing.now(NETWORKS, Fixed(1.0, 2.0, 3.0))
    assert standing.points == [(1.0, 0.7), (2.0, 0.9), (3.0, 0.6)]
    assert standing.front == [0, 1]


def test_a_correction_takes_a_networks_place() -> None:
    assert Standing.now(NETWORKS, Fixed(3.0, 2.0, 3.0)).front == [1]


def test_stands_still_within_the_predictions_error() -> None:
    earlier = Standing.now(NETWORKS, Fixed(1.0, 2.0, 3.0))
    assert Standing.now(NETWORKS, Fixed(1.05, 1.9, 9.0)).same_front(earlier)
    assert not Standing.now(NETWORKS, Fixed(1.0, 1.7, 3.0)).same_front(earlier)
    assert not Standing.now(NETWORKS, Fixed(1.0, 2.0, 0.5)).same_front(earlier)
    assert not Standing.now([], simulated.Macs()).same_front(earlier)
