"""Times that a board's clock was set in are measured again.

TVM's timer on CPUs is ``std::chrono::high_resolution_clock``, which in libstdc++ is the time of
day. A board without a battery sets it as soon as it reaches a time server, in the middle of a
tuning: a kernel then takes minus an hour, and would be the fastest of all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tvmkd.base.errors import MissingError

TRIES = 3
_ROUNDING = 1e-3  # seconds


def seconds(evaluate: Callable[[], Any], number: int = 1) -> list[float]:
    """The results of a TVM time evaluator, if they are possible.

    Args:
        evaluate: runs the evaluator; what it returns has ``results``.
        number: runs in each of them, of which it gives the mean.

    Raises:
        MissingError: `TRIES` times in a row a time was negative, or all together were longer than
            the call took by this machine's monotonic clock.
    """
    for _ in range(TRIES):
        begin = time.monotonic()
        found = [float(value) for value in evaluate().results]
        passed = time.monotonic() - begin
        if min(found) >= 0 and number * sum(found) <= 1.05 * passed + _ROUNDING:
            return found
    raise MissingError(
        f"the board's clock was set during each of {TRIES} measurements (the last one gave "
        f"{min(found):.3g} to {max(found):.3g} s within {passed:.3g} s): "
        "stop what sets it, ntpd or timedatectl"
    )
