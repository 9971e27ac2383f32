"""How long a call takes, estimated from the last ones: what admission decides by."""

from __future__ import annotations

RISE, FALL = 0.25, 0.0625
"""Of the newest time: a machine that becomes slower is believed sooner than one that becomes
faster, because a request that is refused costs less than one that is accepted and late."""
DEVIATION_GAIN = 0.25
DEVIATIONS = 2.0
"""How many mean deviations above the mean `ServiceTime.high` is."""


class ServiceTime:
    """Mean and mean deviation of the time in which an instance serves a request.

    As TCP estimates its round trip (RFC 6298), with a gain that differs upwards and downwards.

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
        self.mean += (RISE if error > 0 else FALL) * error
        self.deviation += DEVIATION_GAIN * (abs(error) - self.deviation)

    @property
    def high(self) -> float:
        """What one call hardly exceeds, ns."""
        return self.mean + DEVIATIONS * self.deviation

    def finish(self, ahead: int, elapsed: float, instances: int) -> float:
        """Nanoseconds until a request is done that comes now, rather too many than too few.

        The times of calls in a row are not independent, so their deviations do not cancel. To
        overestimate costs no throughput: the queue becomes shorter, but not empty.

        Args:
            ahead: requests that wait before it.
            elapsed: sum of the times that the busy instances have already spent, ns.
            instances: how many serve, all of them busy.
        """
        work = max(0.0, (ahead + instances) * self.high - elapsed) / instances
        return work + self.high
