"""Trainings on this machine pause while a network is timed on it.

Two locks on files, which the kernel releases when a process ends. Who trains holds the second one
shared, an epoch at a time; who measures holds it alone. Everybody passes through the first one, and
who measures stays in it meanwhile: so no new epoch begins, and a measurement waits for at most one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Quiet:
    """The two locks.

    Args:
        folder: where the files are; shared by all processes of a search on this machine.

    Raises:
        OSError: the files cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._door, self._room = (
            os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)
            for name in (".measuring.lock", ".training.lock")
        )

    def close(self) -> None:
        """Releases everything; a second call does nothing."""
        for name in ("_door", "_room"):
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
                setattr(self, name, -1)

    def epoch(self) -> None:
        """Call it before each epoch: waits while a network is measured."""
        fcntl.flock(self._room, fcntl.LOCK_UN)
        fcntl.flock(self._door, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._room, fcntl.LOCK_SH)
        finally:
            fcntl.flock(self._door, fcntl.LOCK_UN)

    def rest(self) -> None:
        """Call it when a training ends, in whatever way."""
        fcntl.flock(self._room, fcntl.LOCK_UN)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody trains in the block, once the epochs that have begun are over."""
        fcntl.flock(self._room, fcntl.LOCK_UN)
        fcntl.flock(self._door, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._room, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)
            fcntl.flock(self._door, fcntl.LOCK_UN)
