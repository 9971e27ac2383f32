"""The warm process that builds kernels: it imports TVM once and forks workers for each batch.

``python -m tvmkd.tuning.forkserver STACK`` answers ``ready`` and ``build`` over
:mod:`tvmkd.base.wire`. A worker builds one kernel after the other, so that the copying of pages
that a fork costs is paid once. It ends with the first build that fails in any way, and the next
build gets a fresh one: a build that hangs is killed, one that crashes takes only itself along, and
none inherits the state of a failure.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvmkd.base import wire
from tvmkd.base.prctl import die_with_parent
from tvmkd.tuning import tuner_backend
from tvmkd.tuning.tuner_backend import TunerBackend

EXIT_BUILD_FAILED = 3
ERROR_LIMIT = 2000  # characters of a build's error that are kept

Emit = Callable[[str, dict[str, Any]], None]


@dataclass
class _Worker:
    """A forked worker and its current build."""

    pid: int
    ask: int  # descriptor: gets the path stem of each build, one a line
    answer: int  # descriptor: sends one byte after each build; closed when the worker ends
    index: int = -1
    stem: Path = Path()
    started: float = 0.0


def _limit_memory(extra_bytes: int) -> None:
    """Limits this process's address space to its size now plus ``extra_bytes``."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + extra_bytes
    with contextlib.suppress(ValueError):  # the hard limit is lower already
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _link(linker: list[str], stem: Path) -> None:
    """Links ``STEM.o``. If a signal ends the linker, this process ends by the same signal."""
    device = Path(f"{stem}.dev.o")
    command = [*linker, "-o", f"{stem}.so", f"{stem}.o"]
    command += [os.fspath(device)] if device.exists() else []
    _, status = os.waitpid(os.posix_spawnp(command[0], command, os.environ), 0)
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    elif os.WEXITSTATUS(status) != 0:
        os._exit(EXIT_BUILD_FAILED)  # the linker printed why


def _work(stack: TunerBackend, setup: Any, ask: int, answer: int, params: dict[str, Any]) -> None:
    """The worker: builds what it is asked for until a build fails. Never returns."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.setpgid(0, 0)
        die_with_parent()
        _limit_memory(params["memory_bytes"])
        with os.fdopen(ask) as requests:
            for line in requests:
                number, stem = line.rstrip("\n").split(" ", 1)
                log = os.open(f"{stem}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.dup2(log, 1)
                os.dup2(log, 2)
                os.close(log)
                source = params["sources"][int(number)]
                taken = stack.compile_object(source, setup, Path(f"{stem}.o"))
                _link(params["linker"], Path(stem))
                Path(f"{stem}.args").write_text(json.dumps(taken))
                os.write(answer, b".")
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc()
            sys.stderr.flush()
    finally:
        os._exit(EXIT_BUILD_FAILED)


def _log_tail(stem: Path) -> str:
    try:
        return Path(f"{stem}.log").read_text(errors="replace").strip()[-ERROR_LIMIT:]
    except OSError:
        return ""


def _verdict(status: int, stem: Path) -> tuple[str, str]:
    """The error kind and message of the build that a worker ended with."""
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return "build_crash", f"the build was ended by {name}: {_log_tail(stem)}"
    return "build_error", _log_tail(stem) or f"exit code {os.WEXITSTATUS(status)}"


class Forkserver:
    """The handlers of the process, and the folder that its builds go to."""

    def __init__(self, stack: TunerBackend) -> None:
        self._stack = stack
        self._setup: Any = None
        self._folder: Path | None = None
        self._workers: list[_Worker] = []
        self._count = 0

    def ready(self, params: dict[str, Any], _emit: Emit) -> dict[str, Any]:
        """Compiles something once, so that every fork starts warm.

        Returns ``{"threads"}``: 1, or else forking would not be safe.
        """
        self._folder = Path(params["folder"])
        self._setup = params["setup"]
        self._stack.warm_up(self._setup, params.get("cuda"), self._folder)
        gc.collect()
        gc.freeze()  # a collection in a child would copy every page it touches
        return {"threads": len(os.listdir("/proc/self/task"))}

    def build(self, params: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """Builds ``sources``, ``workers`` at a time; emits ``built`` for each as it ends."""
        todo = list(range(len(params["sources"])))[::-1]
        poll = select.poll()
        try:
            while todo or self._workers:
                while todo and len(self._workers) < params["workers"]:
                    worker = self._fork(params)
                    poll.register(worker.answer, select.POLLIN)
                    self._give(worker, todo.pop())
                oldest = min(worker.started for worker in self._workers)
                wait = max(0.0, oldest + params["timeout"] - time.monotonic())
                ready = {fd for fd, _ in poll.poll(wait * 1000 + 1)}
                for worker in list(self._workers):
                    late = time.monotonic() - worker.started > params["timeout"]
                    if worker.answer not in ready and not late:
                        continue
                    good = worker.answer in ready and os.read(worker.answer, 1) == b"."
                    if good:
                        emit("built", self._result(worker, None, None))
                        if todo:
                            self._give(worker, todo.pop())
                            continue
                    poll.unregister(worker.answer)
                    status = self._end(worker, kill=good or worker.answer not in ready)
                    if not good:
                        emit("built", self._failure(worker, status, worker.answer not in ready))
        finally:
            self.abandon()
        return {}

    def _fork(self, params: dict[str, Any]) -> _Worker:
        ask_read, ask = os.pipe()
        answer, answer_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ask)
            os.close(answer)
            _work(self._stack, self._setup, ask_read, answer_write, params)
        os.close(ask_read)
        os.close(answer_write)  # before the next fork, or its child would keep this open
        with contextlib.suppress(OSError):  # parent and child both do this, in any order
            os.setpgid(pid, pid)
        worker = _Worker(pid, ask, answer)
        self._workers.append(worker)
        return worker

    def _give(self, worker: _Worker, index: int) -> None:
        assert self._folder is not None, "ready comes first"
        self._count += 1
        worker.index = index
        worker.stem = self._folder / f"k{self._count}"
        worker.started = time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # it died: the closed answer pipe says so
            os.write(worker.ask, f"{index} {worker.stem}\n".encode())

    def _end(self, worker: _Worker, *, kill: bool) -> int:
        """Waits for a worker to end (``kill``: kills it first) and returns its wait status."""
        self._workers.remove(worker)
        if kill:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
        _, status = os.waitpid(worker.pid, 0)
        os.close(worker.ask)
        os.close(worker.answer)
        return status

    def _failure(self, worker: _Worker, status: int, late: bool) -> dict[str, Any]:
        if late:
            seconds = time.monotonic() - worker.started
            return self._result(worker, "build_timeout", f"killed after {seconds:.1f} s")
        return self._result(worker, *_verdict(status, worker.stem))

    @staticmethod
    def _result(worker: _Worker, kind: str | None, message: str | None) -> dict[str, Any]:
        path = f"{worker.stem}.so"
        taken = None if kind else json.loads(Path(f"{worker.stem}.args").read_text())
        done = [f"{worker.stem}.{end}" for end in ("o", "dev.o", "log", "args")]
        for name in done + ([path] if kind else []):
            Path(name).unlink(missing_ok=True)
        return {
            "index": worker.index,
            "path": path if kind is None else None,
            "args": taken,
            "error_kind": kind,
            "error": message,
            "seconds": time.monotonic() - worker.started,
        }

    def abandon(self) -> None:
        """Ends the running builds."""
        for worker in list(self._workers):
            self._end(worker, kill=True)

    def clean(self) -> None:
        """Ends the running builds and removes the folder, before this process exits."""
        self.abandon()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def main() -> None:
    """Serves until stdin closes or the parent exits; then removes the build folder."""
    stack = tuner_backend.of(sys.argv[1])
    forkserver = Forkserver(stack)

    def leave(_number: int, _frame: object) -> None:
        forkserver.clean()
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    die_with_parent(signal.SIGTERM)
    stack.import_compiler()
    try:
        wire.serve({"ready": forkserver.ready, "build": forkserver.build})
    finally:
        forkserver.clean()


if __name__ == "__main__":
    main()
