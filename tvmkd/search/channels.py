"""Channel counts that are efficient on a target.

The time of a layer is a staircase of its channels: a vector register or a tile that is not full
costs as much as a full one. The counts worth offering are the last of each step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from tvmkd.base import console
from tvmkd.base.errors import InputError
from tvmkd.config.values import DIGITS

TOLERANCE = 0.01
"""Share of a time below which a difference counts as none."""
GRID = 64
"""Parts of a range: the latency is predicted for about as many multipliers, if all networks
differ."""

NumberT = TypeVar("NumberT", int, float)


def efficient(
    counts: Sequence[NumberT], seconds: Callable[[NumberT], float], tolerance: float = TOLERANCE
) -> list[NumberT]:
    """The counts that no larger one equals or beats in time: the last before each step up.

    A step down, as where a larger count fills the registers better, takes away the counts before
    it as well.

    Args:
        counts: in any order.
        seconds: the time of a count, or of a network with it.
        tolerance: share by which a count has to be faster than every larger one.

    Returns:
        in rising order; the largest is always among them.
    """
    found: list[NumberT] = []
    fastest = float("inf")
    for count in sorted(set(counts), reverse=True):
        time = seconds(count)
        if not found or time < (1 - tolerance) * fastest:
            found.append(count)
        fastest = min(fastest, time)
    return found[::-1]


def different(low: float, high: float, key: Callable[[float], str]) -> list[float]:
    """The multipliers of a range whose networks differ: of each network one with few digits.

    Args:
        low, high: of the range.
        key: equal for equal networks.
    """
    if low == high:
        return [low]
    width = 10.0 ** math.floor(math.log10((high - low) / GRID))
    step = next(factor * width for factor in (1, 2, 5, 10) if factor * width * GRID >= high - low)
    first, last = math.ceil(low / step), math.floor(high / step)
    inside = (round(count * step, DIGITS) for count in range(first, last + 1))
    found: dict[str, list[float]] = {}
    for value in sorted({low, high, *inside}):
        found.setdefault(key(value), []).append(value)
    return [min(alike, key=lambda value: (len(repr(value)), value)) for alike in found.values()]


def efficient_multipliers(
    what: str, multipliers: Sequence[float], seconds: Callable[[float], float]
) -> list[float]:
    """The efficient ones of some multipliers of channel counts; says how many they are.

    Args:
        what: for people: the parameter, and of which model.
        multipliers: of networks that differ.
        seconds: the predicted time of a network.

    Raises:
        InputError: the time of no network can be predicted. If only some cannot be, these are
            left out, with a warning.
    """
    known: dict[float, float] = {}
    failed: InputError | None = None
    for value in multipliers:
        try:
            known[value] = seconds(value)
        except InputError as error:
            failed = error
    if failed is not None:
        if not known:
            raise failed
        console.warn(f"{what}: left out {len(multipliers) - len(known)} multipliers: {failed}")
    kept = efficient(list(known), known.__getitem__)
    console.say(f"{what}: {len(kept)} of {len(known)} multipliers are efficient on the target")
    return kept
