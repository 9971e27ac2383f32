"""The board runner: measures built kernels on every board under a key, as boards come and go."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tvmkd.base.errors import InputError, MissingError
from tvmkd.boards import connect
from tvmkd.boards.connect import SILENT
from tvmkd.tuning.board_worker import PLAIN_LOOPS_TAKE, BoardWorker, Settings, Shared
from tvmkd.tuning.canary import Calm
from tvmkd.tuning.measurement import RunJob, RunResult, Work
from tvmkd.tuning.quarantine import Quarantine

OPEN_SECONDS = 20.0  # how long the first connection may wait for a busy board
SETTLE_SECONDS = 5.0  # how long the first board waits for the others at the start
WATCH_SECONDS = 2.0  # how often the tracker is asked which boards there are

Tell = Callable[[str, dict[str, Any]], None]


def boards_to_use(registered: int, most: int | None) -> int:
    """How many boards to use: all that are registered, ``most`` at the most (None: all)."""
    return min(registered, most or registered)


def is_elsewhere(facts: Mapping[str, Any], boot_id: str | None) -> bool:
    """True if building on this machine leaves a board's measurements alone.

    An emulated board is a process of this machine, but its times mean nothing anyway; a board with
    a declared delay only waits.

    Args:
        facts: what the board answers. Where it has no ``boot_id`` (upstream's server), its address
            decides.
        boot_id: this machine's.
    """
    if facts.get("emulated") or facts.get("declared_delay_s"):
        return True
    boot = facts.get("boot_id")
    if boot:
        return bool(boot != boot_id)
    return not str(facts.get("board", "")).startswith(("127.", "localhost", "[::1]"))


class BoardRunner:
    """Measures candidates on the boards under one key. Use as a context manager.

    It uses all boards that are registered under the key, which it looks up again every few seconds,
    with one thread for each. If a kernel hangs or crashes, it is tried once more on another board;
    if it fails there too, the candidate counts as failed. If a board or the tracker disappears, the
    measurement is repeated on another board or as soon as one answers. If none answers for
    ``board_wait`` seconds, the run stops with an error and records nothing for it.

    Args:
        tracker: ``{"host", "port", "key"}``.
        target: ``Target.to_dict()``; boards that do not fit it are refused.
        boards: most boards to use (None: all of them).
        run_timeout: seconds after which a measurement counts as hung.
        session_seconds: seconds after which a session is opened again. Upstream's server ends a
            hung kernel only then; `tvmkd board serve` ends it at once.
        board_wait: seconds to wait for a board before giving up.
        reject: if a candidate's first run is this many times slower than the best of its task, it
            is not measured further.
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
        self._most = boards
        self._board_wait = board_wait
        thermal = dict(target or {}).get("thermal") or {}
        settings = Settings(
            self._tracker,
            dict(target or {}),
            run_timeout,
            max(session_seconds, 2 * PLAIN_LOOPS_TAKE * run_timeout),
            reject,
            evaluator,
        )
        self._shared = Shared(settings, Quarantine(thermal), emulated)
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> BoardRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Called from other threads.

    def open(self) -> list[dict[str, Any]]:
        """Connects to the boards and returns their facts.

        Returns:
            one dictionary a board: ``board``, ``threads`` (how many a kernel gets there), and
            the facts of :mod:`tvmkd.boards.facts` if `tvmkd board serve` runs there.

        Raises:
            MissingError: no tracker, no board under the key, or none that is free in time.
            InputError: the boards do not fit the target, or not each other.
        """
        there = connect.check(self._tracker["host"], self._tracker["port"], self._tracker["key"])
        with self._shared.lock:
            self._shared.wanted = boards_to_use(len(there), self._most)
            self._add_workers()

            def settled() -> bool:
                ready = sum(worker.ready for worker in self._shared.workers)
                return ready + len(self._shared.quarantine.refusals()) >= self._shared.wanted

            if not self._shared.lock.wait_for(settled, min(SETTLE_SECONDS, OPEN_SECONDS)):
                rest = max(0.0, OPEN_SECONDS - SETTLE_SECONDS)
                self._shared.lock.wait_for(lambda: self._shared.facts or settled(), rest)
            if not self._shared.facts:
                self._refuse_to_start()
            self._shared.started = True
        self._watcher = threading.Thread(target=self._watch, name="boards", daemon=True)
        self._watcher.start()
        return [dict(facts) for facts in self._shared.facts.values()]

    def _refuse_to_start(self) -> None:
        refusals = self._shared.quarantine.refusals()
        if refusals:
            raise InputError(refusals[0])
        silent = [worker.session.waiting_for for worker in self._shared.workers]
        named = next((address for address in silent if address is not None), None)
        why = self._shared.trouble or f"every board under the key {self._tracker['key']!r} is busy"
        fails = f"the board at {named} fails: "
        # It may be asked once more at this moment, and have said before what is wrong.
        if named is not None and not why.startswith(fails):
            why = fails + SILENT
        raise MissingError(f"no board answered for {OPEN_SECONDS:.0f} s: {why}")

    def watch(self, canary: RunJob, known: Mapping[str, float]) -> None:
        """Runs a `tvmkd.tuning.canary` beside kernels with threads, and measures longer by it.

        Args:
            canary: the kernel.
            known: its least seconds on boards that it ran on before, see `canary.usual`.
        """
        self._shared.calm = Calm(known)
        self._shared.canary = canary

    @property
    def watches(self) -> bool:
        """True if boards run a canary."""
        return self._shared.canary is not None

    @property
    def lost(self) -> int:
        """How often a session was lost, or a measurement gave no answer."""
        return self._shared.lost

    @property
    def boards(self) -> int:
        """How many boards are at work or expected to be."""
        with self._shared.lock:
            refused = len(self._shared.quarantine.refusals())
            return max(1, self._shared.wanted - refused)

    @property
    def remote(self) -> bool:
        """True if building here leaves all boards' measurements alone: see :func:`is_elsewhere`."""
        here = _boot_id()
        return bool(self._shared.facts) and all(
            is_elsewhere(facts, here) for facts in self._shared.facts.values()
        )

    def submit(self, job: RunJob) -> Future[RunResult]:
        """Measures ``job`` as soon as a board is free."""
        future: Future[RunResult] = Future()
        with self._shared.lock:
            if self._shared.closed:
                raise MissingError("measuring has ended")
            self._shared.todo.append(Work(job, future))
            self._shared.last_ready = max(self._shared.last_ready, time.monotonic())
            self._shared.lock.notify_all()
        return future

    def news(self, tell: Tell) -> None:
        """Calls ``tell`` with each event of the boards since the last call.

        The events are ``note`` with a ``text`` for people, and ``board`` with the facts of a new
        board.
        """
        while True:
            try:
                event = self._shared.news.get_nowait()
            except queue.Empty:
                return
            tell(*event)

    def close(self) -> None:
        """Ends every session and the processes that hold them."""
        with self._shared.lock:
            self._shared.closed = True
            self._shared.lock.notify_all()
            workers = list(self._shared.workers)
            for work in self._shared.todo:
                work.future.cancel()
            self._shared.todo.clear()
        for worker in workers:
            worker.session.close()
        for worker in workers:
            worker.thread.join()
        if self._watcher is not None:
            self._watcher.join()

    # The watcher: which boards there are, who else waits for them, and whether to give up.

    def _watch(self) -> None:
        while True:
            with self._shared.lock:
                self._shared.lock.wait_for(lambda: self._shared.closed, WATCH_SECONDS)
                if self._shared.closed:
                    return
            self.look()

    def look(self) -> None:
        """Asks the tracker which boards there are and who waits for one; gives up if none came."""
        with contextlib.suppress(MissingError):  # boards answer without their tracker
            self._ask_tracker()
        self._give_up_if_alone()

    def _ask_tracker(self) -> None:
        host, port, key = (self._tracker[name] for name in ("host", "port", "key"))
        state = connect.summary(host, port)
        named = f"server:{key}"
        there = sum(server.get("key") == named for server in state.get("server_info", []))
        pending = int(state.get("queue_info", {}).get(key, {}).get("pending", 0))
        with self._shared.lock:
            before = self._shared.wanted
            self._shared.wanted = boards_to_use(there, self._most)
            own = sum(not worker.ready for worker in self._shared.workers)
            self._shared.others_wait = pending > own
            self._add_workers()
            if self._shared.wanted != before:
                now = self._shared.wanted
                self._shared.note(f"boards under the key {key!r}: {before} before, {now} now")
            self._shared.lock.notify_all()

    def _add_workers(self) -> None:
        # One worker stays even without a board: it waits for one to come back.
        while len(self._shared.workers) < max(1, self._shared.wanted) and not self._shared.closed:
            worker = BoardWorker(self._shared)
            self._shared.workers.append(worker)
            worker.thread.start()

    def _give_up_if_alone(self) -> None:
        with self._shared.lock:
            now = time.monotonic()
            if any(worker.ready for worker in self._shared.workers) or not self._shared.todo:
                self._shared.last_ready = now
            if now - self._shared.last_ready < self._board_wait:
                return
            why = self._shared.trouble or "none came"
            error = MissingError(
                f"no board answered for {self._board_wait:.0f} s: {why}. Upstream's Python "
                "server does not survive a kernel that crashes, `tvmkd board serve` does"
            )
            while self._shared.todo:
                self._shared.todo.popleft().future.set_exception(error)


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
