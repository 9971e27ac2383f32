"""How long a call takes, estimated from the last ones: what admission decides by."""

from __future__ import annotations

import math

GAIN = 0.125
"""Of the newest time, as for the round-trip time of TCP (RFC 6298)."""
DEVIATION_GAIN = 0.25
DEVIATIONS = 2.0
"""How many mean deviations above the mean `ServiceTime.high` is."""


class ServiceTime:
    """Mean and mean deviation of the time in which an instance serves a request (RFC 6298).

    Args:
        first_ns: before the first measurement; 0: nothing is known.
    """

    def __init__(self, first_ns: int = 0) -> None:
        self.mean = float(first_ns)
        self.deviation = first_ns / 4

    def add(self, nanoseconds: int) -> None:
        """Adds a measurement."""
        if not self.mean:
            self.mean, self.deviation = float(nanoseconds), nanoseconds / 4
            return
        error = nanoseconds - self.mean
        self.mean += GAIN * error
        self.deviation += DEVIATION_GAIN * (abs(error) - self.deviation)

    @property
    def high(self) -> float:
        """What one call hardly exceeds, ns."""
        return self.mean + DEVIATIONS * self.deviation

    def finish(self, ahead: int, elapsed: float, instances: int) -> float:
        """Nanoseconds until a request is done.

        Args:
            ahead: requests that wait before it.
            elapsed: sum of the times that the busy instances have already spent, ns.
            instances: how many serve.
        """
        # The deviations of calls in a row partly cancel: of n calls only sqrt(n) of them count.
        work = max(0.0, (ahead + instances) * self.mean - elapsed) / instances
        calls = 1 + ahead / instances
        return work + self.mean + DEVIATIONS * self.deviation * math.sqrt(1 + calls)
