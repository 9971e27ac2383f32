"""What the instances of a model may use: how many, which CPUs, how many threads."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass

SPIN_US = 250


@dataclass
class Limits:
    """Of a pool.

    Attributes:
        instances: processes.
        cpus: CPUs to pin them to; empty: none.
        threads: of each instance; 0: as many as it has CPUs.
        queue: requests that may wait.
        hang_s: seconds after which a call counts as hung, and its instance is killed.
    """

    instances: int = 1
    cpus: tuple[int, ...] = ()
    threads: int = 0
    queue: int = 64
    hang_s: float = 60.0


def share(limits: Limits, number: int) -> tuple[tuple[int, ...], int]:
    """The CPUs of an instance, and its threads."""
    if limits.cpus:
        count = len(limits.cpus)
        many = count >= limits.instances
        mine = limits.cpus[number :: limits.instances] if many else (limits.cpus[number % count],)
        return mine, limits.threads or len(mine)
    allowed = len(os.sched_getaffinity(0))
    return (), limits.threads or max(1, allowed // limits.instances)


def default_spin(instances: int) -> int:
    """Microseconds that instances look for the next request: none if the server needs the CPU."""
    return SPIN_US if len(os.sched_getaffinity(0)) > instances else 0


def leave(cpus: Collection[int]) -> None:
    """Keeps this process off the CPUs of the instances, if it has others."""
    others = os.sched_getaffinity(0) - set(cpus)
    if cpus and others:
        os.sched_setaffinity(0, others)
