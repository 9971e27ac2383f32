"""Compiler workers that outlive a client: importing TVM takes each new one seconds.

`StackClient` asks for a `Child`; here it gets an idle one that was started with the same command,
environment and folder. One that was interrupted, killed or has died is not used again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tvmkd.base.wire import Child

KEPT = 2  # idle workers: one for each stack


class Pool:
    """The idle workers of this test process."""

    def __init__(self) -> None:
        self._idle: list[PooledChild] = []

    def child(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> PooledChild:
        """An idle worker that fits, or a new one."""
        world = {**os.environ, **(env or {})}
        world.pop("PYTEST_CURRENT_TEST", None)
        key = (tuple(argv), tuple(sorted(world.items())), Path.cwd())
        for child in self._idle:
            if child.key == key:
                self._idle.remove(child)
                if child.alive():
                    return child
                child.end()
                break
        return PooledChild(self, key, argv, env)

    def put(self, child: PooledChild) -> None:
        """Keeps a worker for the next client; ends the one that was idle for longest."""
        self._idle.append(child)
        while len(self._idle) > KEPT:
            self._idle.pop(0).end()

    def close(self) -> None:
        """Ends all idle workers."""
        while self._idle:
            self._idle.pop().end()


class PooledChild(Child):
    """A worker that goes back to the pool when its client closes it."""

    def __init__(
        self, pool: Pool, key: Any, argv: Sequence[str], env: Mapping[str, str] | None
    ) -> None:
        super().__init__(argv, env)
        self.key = key
        self._pool = pool
        self._spoilt = False

    def alive(self) -> bool:
        """True while the process runs."""
        return self._process.poll() is None

    def end(self) -> None:
        """Ends the process."""
        super().close()

    def interrupt(self) -> None:
        self._spoilt = True
        super().interrupt()

    def call(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().call(*args, **kwargs)
        except KeyboardInterrupt:
            self._spoilt = True
            raise

    def close(self, grace: float = 2.0) -> None:
        if self._spoilt or not self.alive():
            super().close(grace)
        else:
            self._pool.put(self)
