"""Compiler workers that outlive a client: a new one imports TVM, which takes seconds.

Inside `shared` a closed `StackClient` leaves its worker to the next client that starts one with the
same command, environment and working folder.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tvmkd.base.wire import Child

KEPT = 2  # idle workers: one for each stack


class Pool:
    """Starts workers, and keeps those that are idle."""

    def __init__(self) -> None:
        self._idle: list[PooledChild] = []

    def environment(self, env: Mapping[str, str] | None) -> Mapping[str, str]:
        """The variables in which two workers must agree to be the same."""
        return {**os.environ, **(env or {})}

    def child(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Child:
        """An idle worker that was started with the same arguments, or a new one."""
        key = (tuple(argv), self.environment(env), Path.cwd())
        for child in self._idle:
            if child.key == key:
                self._idle.remove(child)
                if child.reusable:
                    return child
                child.end()
                break
        return PooledChild(self, key, argv, env)

    def put(self, child: PooledChild) -> None:
        """Keeps a worker for the next client; ends the one that has been idle for longest."""
        self._idle.append(child)
        while len(self._idle) > KEPT:
            self._idle.pop(0).end()

    def close(self) -> None:
        """Ends all idle workers."""
        while self._idle:
            self._idle.pop().end()


class PooledChild(Child):
    """A worker that returns to its pool when its client closes it, unless it was interrupted."""

    def __init__(
        self, pool: Pool, key: object, argv: Sequence[str], env: Mapping[str, str] | None
    ) -> None:
        super().__init__(argv, env)
        self.key = key
        self._pool = pool

    def close(self, grace: float = 2.0) -> None:
        """Returns to the pool, or ends the process if it may not be used again."""
        if self.reusable:
            self._pool.put(self)
        else:
            self.end(grace)

    def end(self, grace: float = 2.0) -> None:
        """Ends the process."""
        super().close(grace)


_current: Pool | None = None


@contextlib.contextmanager
def shared(pool: Pool | None = None) -> Iterator[None]:
    """Inside the block all clients share their workers, which end with it.

    Args:
        pool: use these workers and leave them running. None: those of the enclosing block, or new
            ones.
    """
    global _current
    before = _current
    own = Pool() if pool is None and before is None else None
    _current = pool or before or own
    try:
        yield
    finally:
        _current = before
        if own is not None:
            own.close()


def start(argv: Sequence[str], env: Mapping[str, str] | None = None) -> Child:
    """A worker process: inside `shared` an idle one if there is one, otherwise a new one."""
    return Child(argv, env) if _current is None else _current.child(argv, env)
