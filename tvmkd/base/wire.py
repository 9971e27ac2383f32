"""Calls between a parent and a child process: line-delimited JSON on stdin and stdout.

A request is one line, ``{"id", "method", "params"}``. The child answers with any number of
``{"id", "event", "data"}`` lines and then one ``{"id", "result"}`` or
``{"id", "error": {"type", "message", "details"}}``. Arrays are sent as files whose names are in the
params.
"""

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
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvmkd.base.errors import (
    BY_NAME,
    FAULT,
    InternalError,
    TvmkdError,
    WorkerDied,
    WorkerTimeout,
    expected,
    name_of,
)
from tvmkd.base.text import reason
from tvmkd.base.user_code import blamed

Event = Callable[[str, dict[str, Any]], None]
Handler = Callable[[dict[str, Any], Event], Any]


def serve(handlers: Mapping[str, Handler], first: Callable[[], Any] | None = None) -> None:
    """Answers the requests on stdin until it is closed. All other output goes to stderr.

    Args:
        handlers: by method.
        first: is called before the first request is read, to import what they need; its errors are
            ignored, since a request meets them again.

    Libraries in C++ write to file descriptor 1 directly, so stdout is first moved to another
    descriptor, and descriptor 1 is redirected to stderr.
    """
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    os.set_inheritable(out.fileno(), False)
    if first is not None:
        with contextlib.suppress(Exception):
            first()
    for line in sys.stdin:
        request = json.loads(line)
        number = request["id"]

        def emit(event: str, data: dict[str, Any], number: int = number) -> None:
            out.write(json.dumps({"id": number, "event": event, "data": data}) + "\n")

        try:
            result = handlers[request["method"]](request.get("params", {}), emit)
            answer: dict[str, Any] = {"id": number, "result": result}
        except KeyboardInterrupt:
            answer = {"id": number, "error": {"type": "Interrupted", "message": "interrupted"}}
        except Exception as error:  # the parent has to get an answer to every request
            answer = {"id": number, "error": _as_answer(error)}
        out.write(json.dumps(answer) + "\n")


def _as_answer(error: Exception) -> dict[str, str]:
    """An error as the parent gets it: its class's name, its line, and the traceback of a fault."""
    trace = traceback.format_exc()
    known = error if isinstance(error, TvmkdError) else blamed(error) or expected(error)
    if known is None:
        print(trace, file=sys.stderr, flush=True)
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(last.filename)}:{last.lineno}"
        text = f"{type(error).__name__} at {where}: {reason(error)}"
        return {"type": "InternalError", "message": text, "details": trace}
    details = known.details or (trace if known.exit_code == FAULT else "")
    return {"type": name_of(known), "message": str(known), "details": details}


class Child:
    """A child process that serves this protocol. Use as a context manager.

    The child leads a process group, so that the processes it starts are ended with it.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._argv = list(argv)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._buffer = b""
        self._count = self._answered = 0
        self._interrupted = False
        self._process = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def reusable(self) -> bool:
        """True if the child runs, has answered every call, and was never interrupted."""
        answered = self._answered == self._count and not self._interrupted
        return answered and self._process.poll() is None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self, limit: int = 4000) -> str:
        """The last ``limit`` bytes that the child wrote to stderr."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - limit))
        return self._log.read().decode("utf-8", "replace")

    def interrupt(self) -> None:
        """Sends the child SIGINT: a long call ends early, with KeyboardInterrupt here."""
        self._interrupted = True
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def call(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        silence: float | None = None,
        on_event: Event | None = None,
    ) -> Any:
        """Calls ``method`` and returns its result.

        Args:
            timeout: limit of the whole call in seconds (None: no limit).
            silence: limit in seconds between two lines from the child, as a watchdog for a long
                call that sends events (None: no limit).
            on_event: called with each event's name and data, in this thread.

        Raises:
            TvmkdError: the error that the child raised, in the same class.
            WorkerDied: the child ended.
            WorkerTimeout: the child overran ``timeout`` or ``silence``, and was killed.
            KeyboardInterrupt: the child was interrupted.
        """
        self._count += 1
        number = self._count
        request = json.dumps({"id": number, "method": method, "params": dict(params or {})})
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self._death(method) from None
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            message = self._line(method, deadline, silence)
            if message.get("id") != number:
                continue
            if "event" in message:
                if on_event is not None:
                    on_event(message["event"], message["data"])
                continue
            self._answered = number
            if "error" not in message:
                return message["result"]
            kind, text = message["error"]["type"], message["error"]["message"]
            if kind == "Interrupted":
                self._interrupted = True
                raise KeyboardInterrupt
            raised = BY_NAME.get(kind, InternalError)(text)
            raised.details = message["error"].get("details", "")
            raise raised

    def _line(self, method: str, deadline: float | None, silence: float | None) -> dict[str, Any]:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            waits = [] if silence is None else [silence]
            if deadline is not None:
                waits.append(max(0.0, deadline - time.monotonic()))
            with selectors.DefaultSelector() as selector:
                selector.register(descriptor, selectors.EVENT_READ)
                ready = selector.select(min(waits) if waits else None)
            if not ready:
                self.kill()
                raise WorkerTimeout(
                    f"{method}: no answer in {min(waits):.0f} s; the worker was ended"
                )
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise self._death(method)
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def _death(self, method: str) -> WorkerDied:
        code = self._process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        tail = " | ".join(self.log().strip().splitlines()[-3:])
        if code == -signal.SIGKILL:
            how += " (usually because the memory of the machine was full)"
        died = WorkerDied(f"{method}: the worker ended with {how}: {tail or 'nothing on stderr'}")
        died.details = self.log()
        return died

    def kill(self) -> None:
        """Kills the child and its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self, grace: float = 2.0) -> None:
        """Closes stdin, waits ``grace`` seconds for the child to end, then kills its group.

        A child that was never called has nothing to put away, and may be busy importing.
        """
        grace = grace if self._count else 0.0
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace)
        self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
