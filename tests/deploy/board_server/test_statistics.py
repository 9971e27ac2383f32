"""The same estimate and buckets as `tvmkd serve` has."""

from __future__ import annotations

import random

import pytest

from tvmkd.deploy.board_server.statistics import BUCKETS, STAGES, Service, Statistics
from tvmkd.deploy.serving import estimate, statistics


def test_the_estimate_is_that_of_tvmkd_serve() -> None:
    ours, theirs = Service(), estimate.ServiceTime()
    rng = random.Random(1)
    for _ in range(50):
        ns = rng.randrange(1_000_000, 9_000_000)
        ours.add(ns / 1e9)
        theirs.add(ns)
        assert ours.mean * 1e9 == pytest.approx(theirs.mean)
        for ahead, elapsed, busy in ((0, 0.0, 1), (7, 0.002, 2), (64, 0.0, 3)):
            wanted = theirs.finish(ahead, elapsed * 1e9, busy)
            assert ours.finish(ahead, elapsed, busy) * 1e9 == pytest.approx(wanted)


def test_the_histogram_is_that_of_tvmkd_serve() -> None:
    assert (BUCKETS, STAGES) == (statistics.BUCKETS, statistics.STAGES)
    ours, theirs = Statistics(), statistics.Histogram()
    for ns in (10, 50_000, 50_001, 3_000_000, 10**10, 10**11):
        ours.add("total", ns / 1e9)
        theirs.add(ns)
    assert ours.counts["total"] == theirs.counts
    assert ours.sums["total"] * 1e9 == pytest.approx(theirs.sum_ns)
