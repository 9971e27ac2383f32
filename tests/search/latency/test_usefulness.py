"""The order in which kernels are worth measuring."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tvmkd.search.latency.prediction import Kernel, KernelTime, Source
from tvmkd.search.latency.usefulness import most_useful


def timed(
    key: str, seconds: float, error: float, calls: int = 1, source: Source = "interpolated"
) -> KernelTime:
    return KernelTime(Kernel(key, key, "conv2d", calls, 1.0), seconds, source, error)


def test_long_uncertain_and_repeated_kernels_come_first() -> None:
    network = [
        timed("short", 1.0, 0.2),
        timed("long", 5.0, 0.2),
        timed("certain", 5.0, 0.01),
        timed("often", 2.0, 0.2, calls=4),
        timed("measured", 50.0, 0.2, source="measured"),
        timed("sure", 9.0, 0.0),
    ]
    assert list(most_useful([network])) == ["often", "long", "short", "certain"]
    assert list(most_useful([network], count=2)) == ["often", "long"]


def test_the_use_is_what_the_standard_error_of_the_prediction_falls_by() -> None:
    network = [timed("a", 3.0, 0.1), timed("b", 4.0, 0.1), timed("c", 3.0, 0.0, source="measured")]
    found = most_useful([network])
    assert found == pytest.approx({"b": (0.5 - 0.3) / 10, "a": 0.3 / 10})


def test_what_is_measured_keeps_its_error() -> None:
    network = [timed("a", 3.0, 0.1), timed("b", 4.0, 0.1, source="measured")]
    assert most_useful([network]) == pytest.approx({"a": (0.5 - 0.4) / 7})


def test_a_kernel_of_many_networks_counts_in_each_by_their_weights() -> None:
    shared, own = timed("shared", 1.0, 0.1), timed("own", 1.2, 0.1)
    networks = [[shared], [shared], [own, timed("x", 1.0, 0.0, source="measured")]]
    assert list(most_useful(networks)) == ["shared", "own"]
    assert list(most_useful(networks, weights=[0.1, 0.1, 5.0])) == ["own", "shared"]
    assert most_useful(networks, weights=[1, 0, 0]) == pytest.approx({"shared": 0.1, "own": 0})


def test_a_choice_considers_those_before_it() -> None:
    # "half" is worth less than "other" until "first", of the same network, has been measured.
    one = [timed("first", 10.0, 0.3), timed("half", 9.0, 0.3)]
    two = [timed("other", 1.0, 0.06)]
    found = most_useful([one, two])
    assert list(found) == ["first", "half", "other"]
    alone = (math.hypot(3.0, 2.7) - 3.0) / 19
    assert alone < found["other"] < found["half"]
    total = math.hypot(3.0, 2.7) / 19 + 0.06
    assert sum(found.values()) == pytest.approx(total), "all together take all of the error away"


def test_nothing_to_measure_and_an_empty_network() -> None:
    assert most_useful([]) == {}
    assert most_useful([[], [timed("a", 1.0, 0.1, source="measured")]]) == {}


def test_many_kernels_of_many_networks_are_ordered_quickly() -> None:
    rng = np.random.default_rng(0)
    pool = [
        timed(str(n), float(rng.uniform(1, 9)), float(rng.uniform(0.05, 0.3))) for n in range(150)
    ]
    networks = [[pool[n] for n in rng.choice(150, 15, replace=False)] for _ in range(150)]
    found = most_useful(networks)
    assert len(found) == 150
    assert min(found.values()) >= 0
