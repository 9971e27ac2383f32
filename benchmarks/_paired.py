"""Differences of two recipes that were trained with the same seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tvmkd.timing.stats import student_t


@dataclass(frozen=True)
class Paired:
    """The mean difference over seeds, and half its 95 % interval by Student's t.

    Attributes:
        mean: of the differences.
        half: infinite with a single seed.
    """

    mean: float
    half: float

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.mean + self.half

    def over(self, gap: float) -> Paired:
        """As a share of a gap."""
        return Paired(self.mean / gap, self.half / abs(gap))


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Paired:
    """Of one recipe minus another, seed by seed."""
    found = [mine - other for mine, other in zip(ours, theirs, strict=True)]
    count = len(found)
    half = math.inf
    if count > 1:
        half = student_t(count - 1) * statistics.stdev(found) / math.sqrt(count)
    return Paired(statistics.fmean(found), half)
