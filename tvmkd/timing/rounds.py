"""The order of the contestants in each round: ABBA, every other round is reversed.

Slow drifts (clock, temperature, load of other processes) then affect all contestants alike, and no
contestant always runs after the same other one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_order(contestants: Sequence[T], turn: int) -> Sequence[T]:
    """The contestants in the order of one round, counted from 0."""
    return contestants if turn % 2 == 0 else contestants[::-1]


def interleave(contestants: Sequence[Callable[[], T]], rounds: int) -> list[list[T]]:
    """Calls each contestant once per round.

    Returns:
        for each contestant the results of its rounds.
    """
    results: list[list[T]] = [[] for _ in contestants]
    for turn in range(rounds):
        for index in in_order(range(len(contestants)), turn):
            results[index].append(contestants[index]())
    return results
