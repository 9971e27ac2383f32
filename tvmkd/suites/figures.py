"""The figures of a suite: engines beside each other over all networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tvmkd.bench.schema import Comparison, Engine

Compared = Sequence[tuple[str, Comparison]]
"""Networks by name, with their comparisons."""


def engines(compared: Compared) -> list[str]:
    """All engines, those that are in most networks first, then by their mean ratio."""
    found = dict.fromkeys(
        engine.name for _, comparison in compared for engine in comparison.engines
    )
    means = {name: mean_ratio(compared, name) for name in found}
    return sorted(found, key=lambda name: (-means[name].networks, means[name].ratio))


@dataclass(frozen=True)
class Mean:
    """A geometric mean over networks.

    Attributes:
        ratio: the mean of an engine's median over that of the network's fastest engine.
        networks: how many it is over.
        fastest: in how many of them the engine is the fastest, or level with it.
    """

    ratio: float
    networks: int
    fastest: int


def mean_ratio(compared: Compared, name: str) -> Mean:
    """How an engine does over the networks that it ran."""
    logs, first = [], 0
    for _, comparison in compared:
        engine = comparison.engine(name)
        if engine is not None:
            logs.append(math.log(ratio(comparison, engine)))
            first += standing(comparison, name) in ("fastest", "level")
    return Mean(math.exp(sum(logs) / len(logs)) if logs else math.nan, len(logs), first)


Standing = Literal["fastest", "level", "unclear", "behind"]
NEAR = 1.1
"""An engine that is slower than this is not called level, however wide the interval."""


def standing(comparison: Comparison, name: str) -> Standing:
    """Where an engine stands by its comparison's verdict.

    ``level`` with the fastest one, if the difference is within noise or too small to choose by; so
    is the fastest one then. ``unclear``: it is much slower, and too few calls tell that for sure.
    """
    verdict = comparison.verdict
    open_ones = {pair.name: pair.ratio < NEAR for pair in verdict.pairs if not pair.decided}
    if name == verdict.fastest:
        return "level" if any(open_ones.values()) else "fastest"
    if name not in open_ones:
        return "behind"
    return "level" if open_ones[name] else "unclear"


def ratio(comparison: Comparison, engine: Engine) -> float:
    """An engine's median over the smallest one of its comparison."""
    return engine.p50 / min(each.p50 for each in comparison.engines)
