"""Counters of one version of a model: plain numbers, so that counting costs a request little."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, deque

BUCKETS = (
    *(50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Upper limits of the histograms, seconds."""
STAGES = ("queue", "copy_in", "compute", "copy_out", "total")
_BUCKETS_NS = [round(bucket * 1e9) for bucket in BUCKETS]
RECENT = 2048


class Histogram:
    """Counts by bucket, the last one for what is above all; and the sum, ns."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum_ns = 0

    def add(self, nanoseconds: int) -> None:
        """Adds one value."""
        self.counts[bisect_left(_BUCKETS_NS, nanoseconds)] += 1
        self.sum_ns += nanoseconds


class Statistics:
    """What `tvmkd.deploy.serving.metrics` shows of one version of a model."""

    def __init__(self) -> None:
        self.requests = 0
        self.errors: Counter[str] = Counter()
        self.deadline_misses = 0
        self.restarts = 0
        self.stages = {stage: Histogram() for stage in STAGES}
        self.count = 0
        self.recent: deque[tuple[int, float, float]] = deque(maxlen=RECENT)
        """Number, time (seconds since the epoch) and total seconds of the last requests."""

    def served(
        self, *, queue: int, copy_in: int, compute: int, copy_out: int, total: int, late: bool
    ) -> None:
        """Counts a request that was answered; the times are nanoseconds."""
        stages = self.stages
        stages["queue"].add(queue)
        stages["copy_in"].add(copy_in)
        stages["compute"].add(compute)
        stages["copy_out"].add(copy_out)
        stages["total"].add(total)
        self.deadline_misses += late
        self.count += 1
        self.recent.append((self.count, time.time(), total / 1e9))
