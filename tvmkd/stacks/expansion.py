"""Chooses the values of a graph that have to be stored so that fused kernels stay small.

A compiler that fuses elementwise operators inlines each value into all that read it. Where values
are read several times, one after the other, the expression grows exponentially: six steps of
``t = t + tanh(t * t - 0.5)`` hold their input 729 times, and compiling takes minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LIMIT = 64
"""Operations that a kernel may compute again for each element of its output."""


@dataclass(frozen=True)
class Step:
    """A value that its readers can compute themselves, since it is elementwise or a rearrangement.

    Attributes:
        name: of the value.
        reads: how often one element reads each other value. Those that are no steps are stored.
        operations: what one element costs, without those values.
    """

    name: str
    reads: Mapping[str, int]
    operations: int = 1


def to_store(steps: Sequence[Step], limit: int = LIMIT) -> set[str]:
    """The values to store, so that no step computes more than ``limit`` operations again.

    Few are chosen: those whose storing saves most. A chain without a value that is read twice grows
    by its own length only, and is left alone.

    Args:
        steps: in the order of their computation.
        limit: operations that are computed more than once, for each element of a step.
    """
    known = {step.name: step for step in steps}
    stored: set[str] = set()
    for step in steps:
        while True:
            order = _below(step, known, stored)
            sizes: dict[str, int] = {}
            for each in reversed(order):
                sizes[each.name] = each.operations + sum(
                    count * sizes.get(name, 0) for name, count in each.reads.items()
                )
            if sizes[step.name] - sum(each.operations for each in order) <= limit:
                break
            times = {step.name: 1}
            for each in order:
                for name, count in each.reads.items():
                    if name in sizes:
                        times[name] = times.get(name, 0) + times[each.name] * count
            del times[step.name]
            stored.add(max(times, key=lambda name: (sizes[name] * (times[name] - 1), name)))
    return stored


def _below(step: Step, known: Mapping[str, Step], stored: set[str]) -> list[Step]:
    """The steps that are inlined into ``step``, itself first, each before those that it reads."""
    found: dict[str, Step] = {}
    waiting = [(step, False)]
    done: list[Step] = []
    while waiting:
        each, visited = waiting.pop()
        if visited:
            done.append(each)
        elif each.name not in found:
            found[each.name] = each
            waiting.append((each, True))
            waiting += [
                (known[name], False) for name in each.reads if name in known and name not in stored
            ]
    return done[::-1]
