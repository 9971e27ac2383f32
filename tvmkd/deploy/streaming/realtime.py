"""What a process asks of the kernel to be on time: its CPUs, its priority, its memory.

All of it ends with the process; `applied` also undoes it in a process that goes on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tvmkd.base.errors import MissingError, UsageError

MCL_CURRENT, MCL_FUTURE = 1, 2
POLICIES = {"fifo": os.SCHED_FIFO, "rr": os.SCHED_RR}
LIMITS = "/etc/security/limits.conf"


@dataclass(frozen=True)
class Priority:
    """A scheduling policy of the kernel, ``fifo`` or ``rr``, and a priority of 1 to 99."""

    policy: str
    level: int

    @classmethod
    def parse(cls, text: str) -> Priority:
        """``fifo:50`` or ``rr:50``.

        Raises:
            UsageError: another text.
        """
        found = re.fullmatch(r"(fifo|rr):(\d{1,2})", text)
        if found is None or not 1 <= int(found[2]) <= 99:
            raise UsageError(f'--priority "{text}": give fifo:1 to fifo:99, or rr:1 to rr:99')
        return cls(found[1], int(found[2]))


def cpus(text: str) -> tuple[int, ...]:
    """``3``, ``2,3`` or ``0-2,5``, sorted.

    Raises:
        UsageError: another text.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip())
        if match is None:
            raise UsageError(f'--cpu "{text}": give CPUs such as 3, 2,3 or 0-2')
        found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(found))


@contextlib.contextmanager
def applied(
    on: Sequence[int] = (), priority: Priority | None = None, lock_memory: bool = False
) -> Iterator[None]:
    """Applies the settings to this thread, and to threads that it starts; undoes them at the end.

    Args:
        on: the CPUs to run on; empty: as before.
        priority: None: as before.
        lock_memory: keeps all memory of the process in RAM, also what it takes later.

    Raises:
        MissingError: the kernel does not permit one of them; says how to allow it.
    """
    with contextlib.ExitStack() as undo:
        if on:
            before = os.sched_getaffinity(0)
            _pin(on, before)
            undo.callback(os.sched_setaffinity, 0, before)
        if priority is not None:
            policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
            _schedule(priority)
            undo.callback(os.sched_setscheduler, 0, policy, parameters)
        if lock_memory:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.mlockall(MCL_CURRENT | MCL_FUTURE):
                reason = os.strerror(ctypes.get_errno())
                raise MissingError(
                    f"--mlock: not permitted here ({reason}); run as root, or allow it with "
                    f"ulimit -l unlimited (memlock in {LIMITS})"
                )
            undo.callback(libc.munlockall)
        yield


def _pin(on: Sequence[int], allowed: set[int]) -> None:
    try:
        os.sched_setaffinity(0, on)
    except OSError:
        missing = sorted(set(on) - allowed)
        raise MissingError(
            f"--cpu: CPU {', '.join(map(str, missing or on))} cannot be used here; there are "
            f"{', '.join(map(str, sorted(allowed)))}"
        ) from None
    if set(on) - os.sched_getaffinity(0):  # the kernel leaves out what is not there
        os.sched_setaffinity(0, allowed)
        missing = sorted(set(on) - allowed)
        raise MissingError(
            f"--cpu: CPU {', '.join(map(str, missing))} cannot be used here; there are "
            f"{', '.join(map(str, sorted(allowed)))}"
        )


def _schedule(priority: Priority) -> None:
    try:
        os.sched_setscheduler(0, POLICIES[priority.policy], os.sched_param(priority.level))
    except OSError as error:
        raise MissingError(
            f"--priority {priority.policy}:{priority.level}: not permitted here "
            f"({error.strerror}); run as root, or allow it with ulimit -r {priority.level} "
            f"(rtprio in {LIMITS})"
        ) from None
