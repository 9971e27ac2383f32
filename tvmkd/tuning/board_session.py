"""A session at one board, held by a separate process, and how it can fail."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvmkd.base.errors import MissingError, TvmkdError, WorkerDied, WorkerTimeout
from tvmkd.base.wire import Child
from tvmkd.boards.connect import SILENT

REQUEST_SECONDS = 10.0  # limit of one request to the tracker for a free board
HANDSHAKE_SECONDS = 20.0  # limit of the handshake with the board that the tracker named
FACTS_SECONDS = 30.0


@dataclass(frozen=True)
class Attempt:
    """The result of one attempt to measure a library.

    Attributes:
        kind: None if it succeeded, else ``run_error``, ``run_crash`` (the session was lost),
            ``run_timeout``, ``session_due`` (no session was open, nothing was run), or
            ``wrong_output`` of a kernel that was verified.
        error: the message of a failure.
        seconds: mean seconds of a run, one value for each repeat; None if it failed.
        facts: ``spread``, ``remeasured`` and the board's telemetry.
        watched: seconds that the measurement took beside a canary, its waiting included.
    """

    kind: str | None
    error: str | None = None
    seconds: list[float] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    watched: float | None = None


class SessionClosed(Exception):
    """The session was closed for good while it was in use."""


class BoardFailed(MissingError):
    """The tracker named a board, and the board fails. ``address`` is the board's, if known."""

    def __init__(self, message: str, address: str | None) -> None:
        super().__init__(message)
        self.address = address


def _failed(address: str | None, error: TvmkdError) -> BoardFailed:
    why = SILENT if isinstance(error, WorkerTimeout) else error
    return BoardFailed(f"the board at {address} fails: {why}", address)


class BoardSession:
    """One session at a time with a board under a key. One thread uses it; any may close it.

    Args:
        tracker: ``{"host", "port", "key"}``.
        session_seconds: the session's limit, which the board enforces.

    Attributes:
        address: ``HOST:PORT`` of the board during a session, else None.
        waiting_for: ``HOST:PORT`` of a board that the tracker named and that has not answered yet.
    """

    def __init__(self, tracker: Mapping[str, Any], session_seconds: float) -> None:
        self._tracker = dict(tracker)
        self._session_seconds = session_seconds
        self._child: Child | None = None
        self._closed = False
        self._lock = threading.Lock()  # no process starts after ``_closed`` is set
        self.address: str | None = None
        self.waiting_for: str | None = None

    def _start(self) -> Child:
        with self._lock:
            if self._closed:
                raise SessionClosed
            if self._child is None:
                self._child = Child([sys.executable, "-m", "tvmkd.tuning.measure_worker"])
            return self._child

    def connect(self) -> str:
        """Opens a session at a free board and returns its address, ``HOST:PORT``.

        Raises:
            MissingError: there is no tracker, or no board became free in time: try again.
            BoardFailed: the tracker named a board, and it does not answer.
            SessionClosed: the session is closed for good.
        """
        self.drop()
        address: str | None = None

        def named(event: str, data: dict[str, Any]) -> None:
            nonlocal address
            if event == "named":
                address = self.waiting_for = data["board"]

        params = {
            **self._tracker,
            "timeout": REQUEST_SECONDS,
            "session_seconds": self._session_seconds,
        }
        limit = REQUEST_SECONDS + HANDSHAKE_SECONDS
        try:
            self.address = self._call("connect", params, limit, named)["board"]
        except TvmkdError as error:
            self.end()
            if address is not None:
                raise _failed(address, error) from None
            raise MissingError(str(error)) from None
        assert self.address is not None
        return self.address

    def _call(
        self, method: str, params: Mapping[str, Any], timeout: float, on_event: Any = None
    ) -> dict[str, Any]:
        child = self._start()
        try:
            answer: dict[str, Any] = child.call(method, params, timeout=timeout, on_event=on_event)
            return answer
        except (WorkerDied, OSError, ValueError) as error:
            if self._closed:  # `close` killed the process, so the pipe is closed
                raise SessionClosed from None
            if isinstance(error, WorkerDied):
                raise
            raise WorkerDied(f"{method}: {error}") from None

    def facts(self, device: str = "cpu") -> dict[str, Any]:
        """The board's facts.

        Args:
            device: what kernels are to run on.

        Raises:
            BoardFailed: it does not answer.
            MissingError: the board's runtime has no function that measuring needs, or the memory of
                its GPU is full.
        """
        try:
            found = self._call("facts", {"device": device}, FACTS_SECONDS)
        except WorkerDied as error:
            address = self.address
            self.end()
            raise _failed(address, error) from None
        self.waiting_for = None
        return found

    def telemetry(self) -> dict[str, Any] | None:
        """Temperature and clocks now; empty if the board has none, None if the session is lost."""
        try:
            return self._call("telemetry", {}, FACTS_SECONDS)
        except TvmkdError:
            self.end()
            return None

    def measure(self, params: Mapping[str, Any], path: Path, limit: float) -> Attempt:
        """Measures one library.

        Args:
            params: see :meth:`tvmkd.tuning.measure_worker.Measurer.measure`.
            path: the library.
            limit: seconds after which the library counts as hung.
        """
        try:
            answer = self._call("measure", {**params, "path": str(path), "limit": limit}, limit)
        except WorkerTimeout:
            self.end()
            return Attempt("run_timeout", f"no result in {limit:.0f} s")
        except WorkerDied as error:
            self.end()
            return Attempt("run_crash", str(error))
        kind = answer.get("error_kind")
        if kind in {"session_lost", "session_due"}:
            self.address = None
        if kind == "session_lost":
            kind = "run_crash"
        return Attempt(
            kind,
            answer.get("error"),
            answer.get("seconds"),
            answer.get("facts", {}),
            answer.get("watched"),
        )

    def drop(self) -> None:
        """Ends the session; the process stays for the next one."""
        self.address = None
        if self._child is not None:
            try:
                self._call("drop", {}, 5.0)
            except TvmkdError:
                self.end()

    def end(self) -> None:
        """Ends the process, and with it the session, even during a measurement."""
        with self._lock:
            child, self._child, self.address = self._child, None, None
            self.waiting_for = None
        if child is not None:
            child.kill()
            child.close(grace=0.0)

    def close(self) -> None:
        """Ends the process; no other is started. Any thread may call this."""
        with self._lock:
            self._closed = True
            child = self._child
        if child is not None:
            child.kill()  # the thread that uses it then calls `end`
