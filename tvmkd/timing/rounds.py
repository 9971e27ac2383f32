"""The order in which contestants take turns: ABBA, every other round reversed.

What drifts slowly (the clock, the temperature, the neighbours) then meets all of them alike, and
none always runs after the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_order(contestants: Sequence[T], turn: int) -> Sequence[T]:
    """The contestants in the order of one round, counted from 0."""
    return contestants if turn % 2 == 0 else contestants[::-1]


def interleave(contestants: Sequence[Callable[[], T]], rounds: int) -> list[list[T]]:
    """Calls each contestant once a round.

    Returns:
        for each contestant the results of its rounds.
    """
    results: list[list[T]] = [[] for _ in contestants]
    for turn in range(rounds):
        for index in in_order(range(len(contestants)), turn):
            results[index].append(contestants[index]())
    return results
