"""How long a compiler may be silent: some models would keep it busy for ever."""

from __future__ import annotations

import math
import os

from tvmkd.base.errors import UsageError

VARIABLE = "TVMKD_BUILD_TIMEOUT"
DEFAULT = 1800.0
"""Seconds. Compiling one model is one step without a sign of life."""


def silence_limit(given: float | None = None) -> float | None:
    """Seconds without an event after which a compiler counts as hung; None: no limit.

    Args:
        given: by the caller; 0: no limit. None: the environment variable's value, else `DEFAULT`.

    Raises:
        UsageError: the environment variable is no number of seconds.
    """
    if given is None:
        text = os.environ.get(VARIABLE) or str(DEFAULT)
        try:
            given = float(text)
        except ValueError:
            given = math.nan
        if not 0 <= given < math.inf:
            raise UsageError(f'{VARIABLE}: "{text}" is not a number of seconds (0: no limit)')
    return given or None
