"""The board runner: measures built kernels on every board under a key, as boards come and go."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvmkd.boards import connect, match
from tvmkd.errors import InputError, MissingError
from tvmkd.tuning.health import Health
from tvmkd.tuning.link import Attempt, BoardFailed, BoardLink, LinkClosed

OPEN_SECONDS = 20.0  # how long the first connection may wait for a busy board
SETTLE_SECONDS = 5.0  # how long the first board waits for the others at the start
WATCH_SECONDS = 2.0  # how often the tracker is asked which boards there are
FAIR_SECONDS = 5.0  # after which a session is given up where somebody else waits for a board
COOL_SECONDS = 2.0  # how often a hot board is asked how it is
ATTEMPTS = 2  # a lost session or no answer twice, on whatever board, is the candidate's doing

Tell = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class RunJob:
    """One kernel to measure.

    Attributes:
        path: its library.
        args: dtype and shape of each argument.
        best: gives the best figure of its task so far, in seconds, for rejecting early.
    """

    path: Path
    args: list[tuple[str, list[int]]]
    best: Callable[[], float | None] = lambda: None


@dataclass(frozen=True)
class RunResult:
    """What became of one measurement.

    Attributes:
        seconds: mean seconds per run, one value a repeat; None where it failed.
        error_kind: None, ``run_error``, ``run_crash`` or ``run_timeout``.
        error: the message that goes with it.
        board: ``HOST:PORT`` of the board.
        wall: seconds that the whole measurement took.
        facts: ``spread`` of the repeats, how often they were ``remeasured``, and ``celsius`` and
            ``throttled`` of the board after them, where it can tell.
    """

    seconds: list[float] | None
    error_kind: str | None
    error: str | None
    board: str | None
    wall: float
    facts: dict[str, Any] = field(default_factory=dict)

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
class _Work:
    """A job on its way, and the boards that it failed on."""

    job: RunJob
    future: Future[RunResult]
    failed_on: list[str] = field(default_factory=list)


@dataclass
class _Slot:
    """A thread that keeps one board busy."""

    thread: threading.Thread
    link: BoardLink
    ready: bool = False  # it holds a board that works
    since: float = 0.0  # when it got it


class BoardRunner:
    """Measures candidates on the boards under one key. Use as a context manager.

    As many boards are used as are registered under the key, looked up again every few seconds;
    each is kept busy by a thread of its own. A kernel that hangs or crashes is tried on one more
    board and is then that candidate's failure. A board or a tracker that is gone is nobody's
    failure: the measurement is made on another board, or as soon as one answers, and where none
    answers for ``board_wait`` seconds the run stops with a clear error and nothing is recorded.

    Args:
        tracker: ``{"host", "port", "key"}``.
        target: ``Target.to_dict()``; boards that do not fit it are refused.
        boards: how many boards to use at most (None: all of them).
        run_timeout: seconds one measurement may take before it counts as hung.
        session_seconds: seconds after which a session is opened anew. A server of upstream's
            frees itself from a hung kernel only then; ours does it at once.
        board_wait: seconds to wait for a board before giving up.
        reject: a candidate whose first run is this many times slower than the best of its task
            is measured no further.
        evaluator: ``"time"``, or ``"icount"`` on emulated boards that count instructions.
        emulated: whether the boards must be emulated ones, or must not be (None: the first
            decides for all).
    """

    def __init__(
        self,
        tracker: Mapping[str, Any],
        target: Mapping[str, Any] | None = None,
        *,
        boards: int | None = None,
        run_timeout: float = 10.0,
        session_seconds: float = 60.0,
        board_wait: float = 90.0,
        reject: float = 5.0,
        evaluator: str = "time",
        emulated: bool | None = None,
    ) -> None:
        self._tracker = dict(tracker)
        self._target = dict(target or {})
        self._most = boards
        self._run_timeout = run_timeout
        self._session_seconds = max(session_seconds, 2 * run_timeout)
        self._board_wait = board_wait
        self._reject = reject
        self._evaluator = evaluator
        self.emulated = emulated
        self.lost = 0  # how often a session was lost and opened again
        self.health = Health(self._target.get("thermal") or {})
        self._facts: dict[str, dict[str, Any]] = {}
        self._news: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._lock = threading.Condition()
        self._todo: deque[_Work] = deque()
        self._slots: list[_Slot] = []
        self._wanted = 0
        self._others_wait = False
        self._closed = False
        self._trouble = ""
        self._last_ready = time.monotonic()
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> BoardRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What other threads ask for.

    def open(self) -> list[dict[str, Any]]:
        """Connects to the boards and returns what they say of themselves.

        Returns:
            one dictionary a board: ``board``, ``threads`` (how many a kernel gets there), and
            the facts of :mod:`tvmkd.boards.facts` where the server is ours.

        Raises:
            MissingError: no tracker, no board under the key, or none that is free in time.
            InputError: the boards do not fit the target, or not each other.
        """
        there = connect.check(self._tracker["host"], self._tracker["port"], self._tracker["key"])
        with self._lock:
            self._wanted = min(len(there), self._most or len(there))
            self._add_slots()

            def settled() -> bool:
                known = sum(slot.ready for slot in self._slots) + len(self.health.refusals())
                return known >= self._wanted

            if not self._lock.wait_for(settled, min(SETTLE_SECONDS, OPEN_SECONDS)):
                rest = max(0.0, OPEN_SECONDS - SETTLE_SECONDS)
                self._lock.wait_for(lambda: self._facts or settled(), rest)
            if not self._facts:
                self._refuse_to_start()
        self._watcher = threading.Thread(target=self._watch, name="boards", daemon=True)
        self._watcher.start()
        return [dict(facts) for facts in self._facts.values()]

    def _refuse_to_start(self) -> None:
        refusals = self.health.refusals()
        if refusals:
            raise InputError(refusals[0])
        why = self._trouble or f"every board under the key {self._tracker['key']!r} is busy"
        raise MissingError(f"no board answered for {OPEN_SECONDS:.0f} s: {why}")

    @property
    def boards(self) -> int:
        """How many boards are at work or expected to be."""
        with self._lock:
            refused = len(self.health.refusals())
            return max(1, self._wanted - refused)

    @property
    def remote(self) -> bool:
        """Whether building here leaves the boards' measuring alone: none of them is this machine.

        An emulated board is one of this machine's processes, but its times mean nothing anyway; a
        board with a declared delay only waits.
        """
        return bool(self._facts) and all(_is_elsewhere(facts) for facts in self._facts.values())

    def submit(self, job: RunJob) -> Future[RunResult]:
        """Measures ``job`` as soon as a board is free."""
        future: Future[RunResult] = Future()
        with self._lock:
            if self._closed:
                raise MissingError("measuring has ended")
            self._todo.append(_Work(job, future))
            self._last_ready = max(self._last_ready, time.monotonic())
            self._lock.notify_all()
        return future

    def run(
        self,
        jobs: Sequence[RunJob],
        *,
        on_result: Callable[[int, RunResult], None] | None = None,
    ) -> list[RunResult]:
        """Measures every job and returns one result for each, in order.

        Raises:
            MissingError: no board answers any more. Jobs without a result were not measured.
        """
        done: queue.SimpleQueue[int] = queue.SimpleQueue()
        futures = [self.submit(job) for job in jobs]
        for index, future in enumerate(futures):
            future.add_done_callback(lambda _, index=index: done.put(index))  # type: ignore[misc]
        for _ in futures:
            index = done.get()
            result = futures[index].result()
            if on_result is not None:
                on_result(index, result)
        return [future.result() for future in futures]

    def news(self, tell: Tell) -> None:
        """Hands out what happened to the boards since the last call.

        ``note`` with a ``text`` for people, ``board`` with the facts of one that has come.
        """
        while True:
            try:
                event = self._news.get_nowait()
            except queue.Empty:
                return
            tell(*event)

    def close(self) -> None:
        """Ends every session and the processes that hold them."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
            slots = list(self._slots)
            for work in self._todo:
                work.future.cancel()
            self._todo.clear()
        for slot in slots:
            slot.link.close()
        for slot in slots:
            slot.thread.join()
        if self._watcher is not None:
            self._watcher.join()

    # The watcher: which boards there are, who else wants them, and whether all is lost.

    def _watch(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._closed, WATCH_SECONDS)
                if self._closed:
                    return
            with contextlib.suppress(MissingError):  # a tracker that is gone takes no board along
                self._look()
            self._give_up_if_alone()

    def _look(self) -> None:
        host, port, key = (self._tracker[name] for name in ("host", "port", "key"))
        state = connect.summary(host, port)
        named = f"server:{key}"
        there = sum(server.get("key") == named for server in state.get("server_info", []))
        pending = int(state.get("queue_info", {}).get(key, {}).get("pending", 0))
        with self._lock:
            before = self._wanted
            self._wanted = min(there, self._most or there)
            own = sum(not slot.ready for slot in self._slots)
            self._others_wait = pending > own
            self._add_slots()
            if self._wanted != before:
                self._note(f"boards under the key {key!r}: {before} before, {self._wanted} now")
            self._lock.notify_all()

    def _add_slots(self) -> None:
        # One slot stays even without a board: it waits for the first that comes back.
        while len(self._slots) < max(1, self._wanted) and not self._closed:
            link = BoardLink(self._tracker, self._session_seconds)
            thread = threading.Thread(name="board", daemon=True, target=lambda: None)
            slot = _Slot(thread, link)
            slot.thread = threading.Thread(target=self._serve, args=(slot,), daemon=True)
            self._slots.append(slot)
            slot.thread.start()

    def _give_up_if_alone(self) -> None:
        with self._lock:
            now = time.monotonic()
            if any(slot.ready for slot in self._slots) or not self._todo:
                self._last_ready = now
            if now - self._last_ready < self._board_wait:
                return
            error = MissingError(
                f"no board answered for {self._board_wait:.0f} s: {self._trouble or 'none came'}. "
                "Upstream's Python server does not survive a kernel that crashes, `tvmkd board "
                "serve` does"
            )
            while self._todo:
                self._todo.popleft().future.set_exception(error)

    # A slot's thread: get a board, keep it busy, give it back.

    def _serve(self, slot: _Slot) -> None:
        try:
            while self._stays(slot):
                if slot.link.address is None and not self._get_board(slot):
                    continue
                work = self._next(slot)
                if work is not None:
                    self._do(slot, work)
                self._be_fair(slot)
        except LinkClosed:
            pass
        finally:
            slot.link.end()
            with self._lock:
                slot.ready = False
                self._slots.remove(slot)
                self._lock.notify_all()

    def _stays(self, slot: _Slot) -> bool:
        with self._lock:
            surplus = len(self._slots) > max(1, self._wanted)
            return not self._closed and (slot.ready or not surplus)

    def _pause(self, seconds: float) -> None:
        with self._lock:
            self._lock.wait_for(lambda: self._closed, seconds)

    def _get_board(self, slot: _Slot) -> bool:
        """Opens a session at a free board, if it is one to work with."""
        with self._lock:
            slot.ready = False
        try:
            address = slot.link.connect()
            facts = {"board": address, **slot.link.facts()}
        except BoardFailed as error:
            self._trouble = str(error)
            if error.address is not None:
                self._failed(error.address, str(error))
            return False
        except MissingError as error:
            self._trouble = str(error)
            self._pause(0.5)
            return False
        try:
            self._admit(address, facts)
        except InputError as error:
            if self.health.refuse(address, str(error)):
                self._note(str(error))
                with self._lock:
                    self._lock.notify_all()
        rest = self.health.rest(address)
        if rest > 0:
            # Kept, or the tracker would hand it out again at once.
            self._pause(min(rest, self._session_seconds / 2))
            return False
        if not self._cool(slot):
            return False
        with self._lock:
            slot.ready, slot.since = True, time.monotonic()
            news = address not in self._facts
            self._facts[address] = facts
            self._last_ready = time.monotonic()
            self._lock.notify_all()
        if news and self._watcher is not None:
            self._news.put(("board", facts))
        return True

    def _admit(self, address: str, facts: Mapping[str, Any]) -> None:
        """Refuses a board that does not fit the target, or the boards there are.

        Raises:
            InputError: says why.
        """
        match.check_match(self._target, address, facts)
        emulated = bool(facts.get("emulated"))
        if self._evaluator == "icount" and not facts.get("icount"):
            raise InputError(
                f"the board at {address} counts no instructions; start emulated boards with: "
                "tvmkd board emulate --icount"
            )
        with self._lock:
            if self.emulated is None:
                self.emulated = emulated
            if self.emulated != emulated:
                kinds = ("a real board", "an emulated one")
                raise InputError(
                    f"the board at {address} is {kinds[emulated]} and these records are of "
                    f"{kinds[not emulated]}: times of the two are never mixed; give another "
                    "--rpc-key or another --records folder"
                )

    def _cool(self, slot: _Slot) -> bool:
        """Waits until a hot board is cool enough. False where it was lost meanwhile."""
        resting = False
        while not self._closed:
            now = slot.link.telemetry()
            if now is None:
                return False
            if not self.health.too_hot(now, resting=resting):
                if resting:
                    self._note(f"the board at {slot.link.address} has cooled down: it goes on")
                return True
            if not resting:
                resting = True
                slot.ready = False
                self._note(
                    f"the board at {slot.link.address} rests: it is at {now.get('celsius')} C"
                    + (" and throttled" if now.get("throttled") else "")
                )
            self._last_ready = time.monotonic()  # it is there, only hot
            self._pause(COOL_SECONDS)
        return False

    def _next(self, slot: _Slot) -> _Work | None:
        """The next job; None where nothing came for a moment."""
        with self._lock:
            self._lock.wait_for(lambda: self._todo or self._closed, 1.0)
            if self._closed or not self._todo:
                return None
            # A second try goes to another board where one is at work.
            for index, work in enumerate(self._todo):
                if slot.link.address not in work.failed_on or not self._others(slot):
                    del self._todo[index]
                    return work
        self._pause(0.1)
        return None

    def _others(self, slot: _Slot) -> bool:
        return any(other.ready for other in self._slots if other is not slot)

    def _do(self, slot: _Slot, work: _Work) -> None:
        address = slot.link.address
        assert address is not None
        started = time.monotonic()
        params = {
            "args": [[dtype, list(shape)] for dtype, shape in work.job.args],
            "device": self._target.get("device", "cpu"),
            "best": work.job.best() if self._evaluator == "time" else None,
            "reject": self._reject,
            "evaluator": self._evaluator,
        }
        delay = float(self._facts.get(address, {}).get("declared_delay_s") or 0.0)
        try:
            attempt = slot.link.measure(params, work.job.path, self._run_timeout + 6 * delay)
        except LinkClosed:
            work.future.cancel()
            raise
        if attempt.kind == "session_due":
            self._put_back(work)
        elif attempt.kind in {"run_crash", "run_timeout"}:
            self._lost(work, attempt, address, time.monotonic() - started)
        else:
            self.health.succeeded(address)
            self._finish(work, attempt, address, time.monotonic() - started)
            if attempt.facts.get("throttled") or attempt.facts.get("celsius"):
                self._cool_if_hot(slot, attempt.facts)

    def _cool_if_hot(self, slot: _Slot, facts: Mapping[str, Any]) -> None:
        if self.health.too_hot(facts, resting=False):
            self._cool(slot)
            slot.ready = slot.link.address is not None

    def _put_back(self, work: _Work) -> None:
        with self._lock:
            self._todo.appendleft(work)
            self._lock.notify_all()

    def _lost(self, work: _Work, attempt: Attempt, address: str, wall: float) -> None:
        """A session was lost, or there was no answer: the board's fault, or the candidate's?"""
        self.lost += 1
        work.failed_on.append(address)
        if len(work.failed_on) >= ATTEMPTS:
            for board in work.failed_on[:-1]:
                self.health.forgiven(board)
            self._finish(work, attempt, address, wall)
            return
        self._failed(address, attempt.error or "")
        self._put_back(work)

    def _failed(self, address: str, why: str) -> None:
        rest = self.health.failed(address)
        if rest is not None:
            self._note(f"the board at {address} is left out for {rest:.0f} s: {why}")

    def _finish(self, work: _Work, attempt: Attempt, address: str, wall: float) -> None:
        work.future.set_result(
            RunResult(attempt.seconds, attempt.kind, attempt.error, address, wall, attempt.facts)
        )

    def _be_fair(self, slot: _Slot) -> None:
        """Gives the board back where somebody else waits for one: tuners take turns."""
        with self._lock:
            had = time.monotonic() - slot.since
            if not self._others_wait or slot.link.address is None:
                return
            if self._todo and had < FAIR_SECONDS:
                return
            slot.ready = False
            self._others_wait = False
        slot.link.drop()

    def _note(self, text: str) -> None:
        self._news.put(("note", {"text": text}))


def _is_elsewhere(facts: Mapping[str, Any]) -> bool:
    if facts.get("emulated") or facts.get("declared_delay_s"):
        return True
    boot = facts.get("boot_id")
    if boot:
        return bool(boot != _boot_id())
    return not str(facts.get("board", "")).startswith(("127.", "localhost", "[::1]"))


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
