"""The board runner: measures built kernels on boards, over sessions that stay open."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvmkd.boards.connect import check
from tvmkd.errors import MissingError, WorkerDied
from tvmkd.wire import Child

OPEN_SECONDS = 15.0  # how long the first connection may wait for a busy board


@dataclass(frozen=True)
class RunJob:
    """One kernel to measure: its library, and the dtype and shape of each argument."""

    path: Path
    args: list[tuple[str, list[int]]]


@dataclass(frozen=True)
class RunResult:
    """What became of one measurement.

    Attributes:
        seconds: mean seconds per run, one value a repeat; None where it failed.
        error_kind: None, ``run_error``, ``run_crash`` or ``run_timeout``.
        error: the message that goes with it.
        board: ``HOST:PORT`` of the board.
        wall: seconds that the whole measurement took.
    """

    seconds: list[float] | None
    error_kind: str | None
    error: str | None
    board: str | None
    wall: float

    @property
    def figure(self) -> float | None:
        """The seconds that stand for this candidate: see :func:`figure`."""
        return figure(self.seconds)


def figure(seconds: Sequence[float] | None) -> float | None:
    """The lower quartile of the repeats: what else runs on a board only ever adds time."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return ordered[(len(ordered) - 1) // 4]


@dataclass
class _Board:
    """One open connection, with the process that holds it."""

    child: Child | None = None
    address: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class BoardRunner:
    """Measures candidates on the boards under one key. Use as a context manager.

    A kernel that hangs or crashes is that candidate's failure. A board or a tracker that is gone
    is not: the measurement is tried again as soon as a board answers, and where none answers
    for ``board_wait`` seconds the run stops with a clear error and nothing is recorded.

    Args:
        tracker: ``{"host", "port", "key"}``.
        boards: how many boards to use at once.
        run_timeout: seconds one measurement may take before it counts as hung.
        session_seconds: seconds after which a session is opened anew. A server of upstream's
            frees itself from a hung kernel only then; ours does it at once.
        board_wait: seconds to wait for a board before giving up.
        reject: a candidate whose first run is this many times slower than the best of its task
            is measured no further.
        device: TVM's name of the device, ``"cpu"`` or ``"cuda"``.
    """

    def __init__(
        self,
        tracker: Mapping[str, Any],
        *,
        boards: int = 1,
        run_timeout: float = 10.0,
        session_seconds: float = 60.0,
        board_wait: float = 90.0,
        reject: float = 5.0,
        device: str = "cpu",
    ) -> None:
        self._tracker = dict(tracker)
        self._run_timeout = run_timeout
        self._session_seconds = max(session_seconds, 2 * run_timeout)
        self._board_wait = board_wait
        self._reject = reject
        self._device = device
        self._closed = False
        self._starting = threading.Lock()  # nothing is started once ``_closed`` is set
        self.lost = 0  # how often a session was lost and opened again
        self._boards = [_Board() for _ in range(boards)]
        # These threads live as long as the runner, since the children they start end with them.
        self._pool = ThreadPoolExecutor(boards, thread_name_prefix="board")

    def __enter__(self) -> BoardRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> list[dict[str, Any]]:
        """Connects to the boards and returns what they say of themselves.

        Returns:
            one dictionary a board: ``board``, ``threads`` (how many a kernel gets there), and
            the facts of :mod:`tvmkd.boards.facts` where the server is ours.

        Raises:
            MissingError: no tracker, no board under the key, or none that is free in time.
        """
        check(self._tracker["host"], self._tracker["port"], self._tracker["key"])
        futures = [self._pool.submit(self._facts, board, OPEN_SECONDS) for board in self._boards]
        return [future.result() for future in futures]

    def _facts(self, board: _Board, patience: float) -> dict[str, Any]:
        with board.lock:
            self._connect(board, patience)
            assert board.child is not None
            found: dict[str, Any] = board.child.call("facts", timeout=30)
        return {"board": board.address, **found}

    def run(
        self,
        jobs: Sequence[RunJob],
        *,
        best: float | None = None,
        on_result: Callable[[int, RunResult], None] | None = None,
    ) -> list[RunResult]:
        """Measures every job and returns one result for each, in order.

        Args:
            best: the best figure so far, in seconds, for rejecting early.
            on_result: called in this thread with the index and the result as each one ends.

        Raises:
            MissingError: no board answers any more. Jobs without a result were not measured.
        """
        results: dict[int, RunResult] = {}
        todo = list(range(len(jobs)))[::-1]
        free = list(self._boards)
        flying: dict[Future[RunResult], tuple[int, _Board]] = {}
        try:
            while todo or flying:
                while todo and free:
                    index, board = todo.pop(), free.pop()
                    future = self._pool.submit(self._measure, board, jobs[index], best)
                    flying[future] = (index, board)
                done, _ = wait(flying, return_when=FIRST_COMPLETED)
                for future in done:
                    index, board = flying.pop(future)
                    free.append(board)
                    result = future.result()
                    results[index] = result
                    if result.figure is not None:
                        best = result.figure if best is None else min(best, result.figure)
                    if on_result is not None:
                        on_result(index, result)
        except BaseException:
            self.close()
            raise
        return [results[index] for index in range(len(jobs))]

    def _connect(self, board: _Board, patience: float | None = None) -> None:
        """Opens a session, trying for ``patience`` (default ``board_wait``) seconds."""
        patience = self._board_wait if patience is None else patience
        deadline = time.monotonic() + patience
        while True:
            left = deadline - time.monotonic()
            try:
                with self._starting:
                    if self._closed:  # what kills the children of a run has been through already
                        raise MissingError("measuring has ended")
                    if board.child is None:
                        board.child = Child([sys.executable, "-m", "tvmkd.tuning.measure"])
                params = {
                    **self._tracker,
                    "timeout": max(1.0, min(left, 10.0)),
                    "session_seconds": self._session_seconds,
                }
                board.address = board.child.call("connect", params, timeout=60)["board"]
                return
            except (MissingError, WorkerDied) as error:
                self._end(board)
                if self._closed or time.monotonic() >= deadline:
                    raise MissingError(f"no board answered for {patience:.0f} s: {error}") from None
                time.sleep(0.5)

    def _reconnect(self, board: _Board) -> None:
        """Opens a session after one was lost. An error here is the board's: nothing is recorded."""
        try:
            self._connect(board)
        except MissingError as error:
            raise MissingError(
                f"{error}. It was lost while a kernel ran: upstream's Python server does not "
                "survive a kernel that crashes, `python -m tvmkd.boards.server` does"
            ) from None

    @staticmethod
    def _end(board: _Board) -> None:
        child, board.child = board.child, None
        if child is not None:
            child.kill()
            child.close(grace=0.0)

    def _measure(self, board: _Board, job: RunJob, best: float | None) -> RunResult:
        with board.lock:
            started = time.monotonic()
            for attempt in (1, 2):
                kind, message, seconds = self._attempt(board, job, best)
                if kind != "run_crash" or attempt == 2:
                    break
                # A lost session may be the network's doing: only a second loss, right after a
                # board has answered again, is the candidate's.
            wall = time.monotonic() - started
            return RunResult(seconds, kind, message, board.address, wall)

    def _attempt(
        self, board: _Board, job: RunJob, best: float | None
    ) -> tuple[str | None, str | None, list[float] | None]:
        if board.child is None:
            self._connect(board)
        assert board.child is not None
        params = {
            "path": str(job.path),
            "args": [[dtype, list(shape)] for dtype, shape in job.args],
            "device": self._device,
            "best": best,
            "reject": self._reject,
            "limit": self._run_timeout,
        }
        try:
            answer = board.child.call("measure", params, timeout=self._run_timeout)
        except WorkerDied as error:
            hung = "no answer" in str(error)
            self._end(board)
            self.lost += 1
            self._reconnect(board)
            kind = "run_timeout" if hung else "run_crash"
            return kind, f"no result in {self._run_timeout:.0f} s" if hung else str(error), None
        if answer.get("error_kind") == "session_due":
            self._connect(board)
            return self._attempt(board, job, best)
        if answer.get("error_kind") == "session_lost":
            self.lost += 1
            self._reconnect(board)
            return "run_crash", answer["error"], None
        return answer.get("error_kind"), answer.get("error"), answer.get("seconds")

    def close(self) -> None:
        """Ends every session and the processes that hold them."""
        with self._starting:
            self._closed = True
        for board in self._boards:
            self._end(board)
        self._pool.shutdown(wait=True, cancel_futures=True)
