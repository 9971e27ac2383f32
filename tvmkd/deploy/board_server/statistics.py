"""How long requests take, and what a model has done."""

import collections

BUCKETS = (50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 0.25,
           0.5, 1.0, 2.5, 5.0, 10.0)  # fmt: skip
STAGES = ("queue", "copy_in", "compute", "copy_out", "total")


class Service:
    """How long a request takes: mean and mean deviation of the last ones (RFC 6298), seconds."""

    def __init__(self) -> None:
        self.mean = self.deviation = 0.0

    def add(self, seconds: float) -> None:
        """Adds a measurement."""
        if not self.mean:
            self.mean, self.deviation = seconds, seconds / 4
            return
        error = seconds - self.mean
        self.mean += (0.25 if error > 0 else 0.0625) * error
        self.deviation += 0.25 * (abs(error) - self.deviation)

    @property
    def high(self) -> float:
        """What one request hardly exceeds."""
        return self.mean + 2 * self.deviation

    def finish(self, ahead: int, elapsed: float, busy: int) -> float:
        """Until a request is done before which ``ahead`` wait, while ``busy`` instances serve."""
        return max(0.0, (ahead + busy) * self.high - elapsed) / busy + self.high


class Statistics:
    """What a model has done."""

    def __init__(self) -> None:
        self.requests = self.deadline_misses = self.restarts = 0
        self.errors: collections.Counter[str] = collections.Counter()
        self.counts = {stage: [0] * (len(BUCKETS) + 1) for stage in STAGES}
        self.sums = dict.fromkeys(STAGES, 0.0)

    def add(self, stage: str, seconds: float) -> None:
        """Adds a time to a histogram."""
        place = sum(1 for limit in BUCKETS if seconds > limit)
        self.counts[stage][place] += 1
        self.sums[stage] += seconds
