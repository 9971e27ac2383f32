"""Locks between processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from tvmkd.base.errors import InputError


class Lock:
    """An exclusive lock on a file, which holds the owner's process id. Use as a context manager.

    The kernel releases the lock when its process ends, for whatever reason; the file stays.

    Args:
        path: the lock file, made where it is missing; its folder has to exist.
        work: what the owner does, for the message: ``tuning into this folder``.
        remedy: what to do instead of waiting: ``give another folder``.
        wait: gets one line and then waits for the lock; None: a lock that is taken is an error.

    Raises:
        InputError: another process holds the lock; the line names its process id.
        OSError: the file cannot be opened.
    """

    def __init__(
        self, path: Path, work: str, remedy: str, wait: Callable[[str], None] | None = None
    ) -> None:
        # Not truncated here: until the lock is held the content is the owner's.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.read(self._descriptor, 32).decode(errors="replace").strip()
                holder = f"another process (pid {owner or 'unknown'}) is {work}"
                if wait is None:
                    raise InputError(f"{path.parent}: {holder}; wait for it or {remedy}") from None
                wait(f"{path.parent}: {holder}; waiting for it")
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Releases the lock; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
