"""Builds candidates into shared libraries, each in a child that is forked from a warm process."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvmkd.base import stack_registry
from tvmkd.base.errors import WorkerDied
from tvmkd.base.toolchain import linker_for
from tvmkd.base.wire import Child


@dataclass(frozen=True)
class BuildResult:
    """The result of one build.

    Attributes:
        path: the shared library, or None.
        args: dtype and shape of each argument of its function ``main``.
        error_kind: None, ``build_error``, ``build_crash`` or ``build_timeout``.
        error: the message of that error.
        seconds: wall time of the build.
    """

    path: Path | None
    error_kind: str | None
    error: str | None
    seconds: float
    args: list[tuple[str, list[int]]] = field(default_factory=list)


_early: dict[str, Child] = {}  # by stack: forkservers that no builder owns yet


def _spawn(stack: str) -> Child:
    # Threads of the forkserver would not survive a fork: limit every library to one.
    env = {"TVM_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return Child([sys.executable, "-m", "tvmkd.tuning.forkserver", stack], env=env)


def prestart(stack: str) -> None:
    """Starts a forkserver early, so that it has imported TVM when the next builder needs it."""
    if stack not in _early:
        _early[stack] = _spawn(stack)


class WarmBuilder:
    """Builds batches of candidates. Use as a context manager.

    The forkserver starts in the background at construction (or earlier: :func:`prestart`); the
    first build waits for it. If it dies it is started again once per batch.

    Args:
        setup: what builds have to know: see :meth:`tvmkd.tuning.tuner_backend.TunerBackend.setup`.
        stack: whose candidates they are.
        linker: see :func:`linker_for`.
        workers: builds at a time (default: the CPUs this process may use).
        timeout: seconds one build may take, linking included.
        memory_mb: MiB of address space that one build may add to the forkserver's own.
        cuda: see :func:`tvmkd.runtime.nvrtc.settings`.
    """

    def __init__(
        self,
        setup: Any,
        stack: str = stack_registry.DEFAULT,
        *,
        linker: Sequence[str] | None = None,
        workers: int | None = None,
        timeout: float = 30.0,
        memory_mb: int = 4096,
        cuda: Mapping[str, Any] | None = None,
    ) -> None:
        self._cuda = None if cuda is None else dict(cuda)
        self._setup = setup
        self._stack = stack
        self._linker = list(linker if linker is not None else linker_for(None))
        self._workers = workers or len(os.sched_getaffinity(0))
        self._timeout = timeout
        self._memory = memory_mb << 20
        self._child: Child | None = None
        self._warm = False
        self.folder = Path(tempfile.mkdtemp(prefix="tvmkd-build-"))
        self._start()

    def __enter__(self) -> WarmBuilder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The forkserver's process id."""
        return None if self._child is None else self._child.pid

    def _start(self) -> None:
        self._child = _early.pop(self._stack, None) or _spawn(self._stack)
        self._warm = False

    def warm_up(self) -> None:
        """Waits until the forkserver has imported everything.

        Raises:
            WorkerDied: it did not start.
        """
        if self._child is None:
            self._start()
        if not self._warm:
            assert self._child is not None
            params = {"folder": os.fspath(self.folder), "setup": self._setup, "cuda": self._cuda}
            self._child.call("ready", params, timeout=300)
            self._warm = True

    def build(
        self,
        sources: Sequence[str],
        on_result: Callable[[int, BuildResult], None] | None = None,
    ) -> list[BuildResult]:
        """Builds every candidate and returns one result for each, in order.

        Args:
            sources: see :meth:`tvmkd.tuning.tuner_backend.TunerBackend.source`.
            on_result: called with the index and the result as each build ends.

        Raises:
            WorkerDied: the forkserver died twice (it is not the build's fault: builds are forks).
        """
        results: dict[int, BuildResult] = {}

        def built(event: str, data: dict[str, Any]) -> None:
            if event != "built":
                return
            index = remaining[data["index"]]
            path = None if data["path"] is None else Path(data["path"])
            taken = [(dtype, shape) for dtype, shape in data["args"] or []]
            result = BuildResult(path, data["error_kind"], data["error"], data["seconds"], taken)
            results[index] = result
            if on_result is not None:
                on_result(index, result)

        for attempt in (1, 2):
            remaining = [index for index in range(len(sources)) if index not in results]
            try:
                self.warm_up()
                assert self._child is not None
                params = {
                    "sources": [sources[i] for i in remaining],
                    "workers": self._workers,
                    "timeout": self._timeout,
                    "linker": self._linker,
                    "memory_bytes": self._memory,
                }
                # The forkserver reports a build when it times out, at the latest.
                self._child.call("build", params, silence=self._timeout + 30, on_event=built)
                break
            except WorkerDied:
                self._end_child()
                if attempt == 2:
                    raise
        return [results[index] for index in range(len(sources))]

    def _end_child(self) -> None:
        child, self._child, self._warm = self._child, None, False
        if child is not None:
            child.kill()
            child.close()

    def close(self) -> None:
        """Ends the forkserver and removes every library that it built."""
        self._end_child()
        shutil.rmtree(self.folder, ignore_errors=True)
