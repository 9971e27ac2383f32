"""How much faster more trials are expected to make a kernel.

The best of n tries keeps improving, ever more slowly: its time is taken to fall as n to the power
of minus a slope. A kernel's own tries tell its slope, and the kernels of its kind fill in what
these leave open (partial pooling). Kinds that were never tuned are taken to gain much, so that
networks made of them come near the front, and a few of their kernels are tuned: optimism in the
face of uncertainty (Auer, "Using confidence bounds for exploitation-exploration trade-offs", JMLR
2002).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

from tvmkd.search.joint.protocols import Progress
from tvmkd.search.latency.prediction import KernelTime

PRIOR = 0.2  # slope of a kind of kernel that was never tuned; high, so that one soon is
POOLED = math.log(16)  # a kernel's own slope counts half after 16 trials of it


class Gains:
    """The slopes, from what has been tuned so far.

    Args:
        progress: how far each measured kernel is tuned, by its key.
        kinds: the kind of each of them.
    """

    def __init__(self, progress: Mapping[str, Progress], kinds: Mapping[str, str]) -> None:
        self._progress = dict(progress)
        gained: dict[str, float] = defaultdict(float)
        tried: dict[str, float] = defaultdict(float)
        for key, each in progress.items():
            gained[kinds[key]] += _gain(each)
            tried[kinds[key]] += math.log(each.trials)
        self._kinds = {kind: _pooled(gained[kind], tried[kind], PRIOR) for kind in gained}

    def slope(self, key: str, kind: str) -> float:
        """The power of the number of trials with which a kernel's time falls."""
        prior = self._kinds.get(kind, PRIOR)
        own = self._progress.get(key)
        return prior if own is None else _pooled(_gain(own), math.log(own.trials), prior)

    def share(self, time: KernelTime, trials: float) -> float:
        """The share (0 to 1) of a kernel's time that further trials are expected to save.

        A kernel that nobody has measured may be faster than its interpolated time by the
        interpolation's error: optimism, so that it is measured.
        """
        own = self._progress.get(time.kernel.key)
        if own is None:
            return 1 - math.exp(-time.error)
        slope = self.slope(time.kernel.key, time.kernel.kind)
        return float(1 - (1 + trials / own.trials) ** -slope)


def _gain(progress: Progress) -> float:
    return math.log(progress.first / progress.best)


def _pooled(gained: float, tried: float, prior: float) -> float:
    return (gained + POOLED * prior) / (tried + POOLED)
