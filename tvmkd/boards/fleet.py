"""A tracker and boards on this machine, as real processes: for the demo and for tests."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvmkd.base import stack_registry
from tvmkd.base.errors import MissingError
from tvmkd.boards.connect import boards
from tvmkd.runtime import interpreters
from tvmkd.runtime.interpreters import Interpreter

START_SECONDS = 60.0


class Process:
    """A server in its own process group, which is ended as a whole."""

    def __init__(self, argv: Sequence[str], env: dict[str, str] | None = None) -> None:
        self._argv, self._env = list(argv), dict(env or {})
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        self._process = subprocess.Popen(
            self._argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **self._env},
            start_new_session=True,
        )
        self.port = 0

    def alive(self) -> bool:
        """True while the process itself runs."""
        return self._process.poll() is None

    def wait(self) -> None:
        """Waits until the process ends by itself.

        Raises:
            MissingError: always, once it has ended.
        """
        self._process.wait()
        raise MissingError(f"a local server has ended: {self._said() or 'it said nothing'}")

    def _said(self) -> str:
        self._log.seek(0)
        said = self._log.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        return " ".join(said)

    def again(self) -> Process:
        """A new process with the same command, for use after this one has ended."""
        return Process(self._argv, self._env)

    @property
    def pid(self) -> int:
        """The process id (and that of the group)."""
        return self._process.pid

    def wait_until_listening(self, timeout: float = START_SECONDS) -> int:
        """Waits for the line with the port that it listens at, and returns the port."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if selector.select(timeout) else b""
        if not line:
            said = self._said()
            self.end()
            raise MissingError(
                f"a local server did not start in {self._argv[0]}: {said or 'no answer'}"
            )
        self.port = int(json.loads(line)["port"])
        return self.port

    def end(self) -> None:
        """Ends the process (SIGTERM, then one second to clean up), then its whole group."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


def start_tracker(host: str = "127.0.0.1", port: int = 0) -> Process:
    """Starts a tracker process that ends with this one."""
    argv = [sys.executable, "-m", "tvmkd.boards.tracker", "--host", host, "--port", str(port)]
    return Process([*argv, "--die-with-parent"])


def start_server(
    tracker: str,
    key: str,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    threads: int | None = None,
    delay: float | None = None,
    memory: int | None = None,
    allow: Sequence[str] = (),
    root: str | None = None,
    runs: Interpreter | None = None,
    server: Path | None = None,
) -> Process:
    """Starts a board server process that ends with this one.

    Args:
        tracker: ``HOST:PORT``.
        threads: threads of a kernel there (``TVM_NUM_THREADS``; None: TVM decides).
        delay: seconds that each measurement takes longer there.
        memory: MiB that a session may use there.
        allow: networks that clients may come from.
        root: a folder whose ``proc`` and ``sys`` it reads instead of this machine's.
        runs: the interpreter of the stack whose kernels it runs (None: this one).
        server: the C server of a bundle, in place of the one in Python.
    """
    if server is None:
        runs = runs or interpreters.find(stack_registry.DEFAULT)
        argv, env = [runs.python, "-m", "tvmkd.boards.server"], dict(runs.environment())
    else:
        argv, env = [os.fspath(server)], {}
    argv += ["--host", host, "--port", str(port)]
    if threads is not None:
        env["TVM_NUM_THREADS"] = str(threads)
    if delay is not None:
        argv += ["--delay", str(delay)]
    if memory is not None:
        argv += ["--session-memory", str(memory)]
    for network in allow:
        argv += ["--allow", network]
    if root is not None:
        env["TVMKD_BOARD_ROOT"] = root
    return Process([*argv, "--tracker", tracker, "--key", key, "--die-with-parent"], env)


@dataclass
class Fleet:
    """The running processes of :func:`local_fleet` and their address."""

    host: str
    port: int
    key: str
    tracker: Process | None
    servers: list[Process] = field(default_factory=list)

    def address(self) -> dict[str, Any]:
        """``{"host", "port", "key"}``."""
        return {"host": self.host, "port": self.port, "key": self.key}


@contextlib.contextmanager
def running_fleet(
    count: int = 1, key: str = "local", threads: int | None = None, **options: Any
) -> Iterator[Fleet]:
    """Like :func:`local_fleet`, but yields the processes too.

    ``options`` go to :func:`start_server`.
    """
    tracker = start_tracker()
    fleet = Fleet("127.0.0.1", 0, key, tracker)
    try:
        fleet.port = tracker.wait_until_listening()
        where = f"{fleet.host}:{fleet.port}"
        for _ in range(count):
            server = start_server(where, key, threads=threads, **options)
            fleet.servers.append(server)
        for server in fleet.servers:
            server.wait_until_listening()
        deadline = time.monotonic() + START_SECONDS
        while len(boards(fleet.host, fleet.port)) < count:
            if time.monotonic() > deadline:
                raise MissingError("the local servers did not register with the local tracker")
            time.sleep(0.05)
        yield fleet
    finally:
        for process in [*fleet.servers, tracker]:
            process.end()


@contextlib.contextmanager
def local_fleet(
    count: int = 1,
    key: str = "local",
    threads: int | None = None,
    runs: Interpreter | None = None,
    server: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """A tracker and ``count`` boards on this machine while the block runs.

    Args:
        threads: threads a kernel gets on each board (None: TVM decides).
        runs: the interpreter of the stack whose kernels they run (None: this one).
        server: the C server of a bundle, in place of the one in Python.

    Yields:
        ``{"host", "port", "key"}``.

    Raises:
        MissingError: a process did not start.
    """
    with running_fleet(count, key, threads, runs=runs, server=server) as fleet:
        yield fleet.address()
