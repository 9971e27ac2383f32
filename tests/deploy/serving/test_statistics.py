"""Counters and histograms."""

from __future__ import annotations

import time

import pytest

from tvmkd.deploy.serving.statistics import BUCKETS, RECENT, STAGES, Histogram, Statistics


@pytest.mark.parametrize(
    ("nanoseconds", "bucket"),
    [
        (0, 0),
        (50_000, 0),  # a limit belongs to its bucket: Prometheus' le
        (50_001, 1),
        (1_000_000, BUCKETS.index(1e-3)),
        (1_000_001, BUCKETS.index(1e-3) + 1),
        (10**10, len(BUCKETS) - 1),
        (10**10 + 1, len(BUCKETS)),
    ],
)
def test_a_value_is_counted_in_one_bucket(nanoseconds: int, bucket: int) -> None:
    histogram = Histogram()
    histogram.add(nanoseconds)
    assert [number for number, count in enumerate(histogram.counts) if count] == [bucket]
    assert histogram.counts[bucket] == 1
    assert histogram.sum_ns == nanoseconds


def test_the_limits_rise() -> None:
    assert list(BUCKETS) == sorted(set(BUCKETS))


def test_a_served_request_is_in_every_stage() -> None:
    statistics = Statistics()
    before = time.time()
    times = {"queue": 1, "copy_in": 20, "compute": 300, "copy_out": 4000, "total": 5_000_000}
    statistics.served(**times, late=False)
    statistics.served(**times, late=True)
    assert {stage: statistics.stages[stage].sum_ns for stage in STAGES} == {
        stage: 2 * value for stage, value in times.items()
    }
    assert all(sum(statistics.stages[stage].counts) == 2 for stage in STAGES)
    assert statistics.deadline_misses == 1
    assert [number for number, _, _ in statistics.recent] == [1, 2]
    _, when, seconds = statistics.recent[-1]
    assert before <= when <= time.time()
    assert seconds == 5e-3
    assert statistics.requests == 0, "the front ends count what arrives"


def test_only_the_last_requests_are_kept() -> None:
    statistics = Statistics()
    for _ in range(RECENT + 5):
        statistics.served(queue=0, copy_in=0, compute=0, copy_out=0, total=1, late=False)
    assert statistics.count == RECENT + 5
    assert len(statistics.recent) == RECENT
    assert statistics.recent[0][0] == 6
