"""A slot: the thread that keeps one board busy, and what all slots share."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tvmkd.base.errors import InputError, MissingError
from tvmkd.boards import match
from tvmkd.tuning.board_session import Attempt, BoardFailed, BoardLink, LinkClosed
from tvmkd.tuning.measurement import RunResult, Work
from tvmkd.tuning.quarantine import Health

FAIR_SECONDS = 5.0  # after which a session is given up where somebody else waits for a board
COOL_SECONDS = 2.0  # how often a hot board is asked how it is
PLAIN_LOOPS_TAKE = 3  # times the limit of a measurement: they are slow, and run once
ATTEMPTS = 2  # a lost session or no answer twice, on whatever board, is the candidate's doing


@dataclass(frozen=True)
class Settings:
    """How to measure: see :class:`tvmkd.tuning.runner.BoardRunner`."""

    tracker: dict[str, Any]
    target: dict[str, Any]
    run_timeout: float
    session_seconds: float
    reject: float
    evaluator: str


@dataclass
class Shared:
    """What the slots of one runner share. ``lock`` guards all but ``health`` and ``news``."""

    settings: Settings
    health: Health
    emulated: bool | None
    news: queue.SimpleQueue[tuple[str, dict[str, Any]]] = field(default_factory=queue.SimpleQueue)
    lock: threading.Condition = field(default_factory=threading.Condition)
    todo: deque[Work] = field(default_factory=deque)
    slots: list[Slot] = field(default_factory=list)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the board's address
    wanted: int = 0  # how many boards there are to use
    others_wait: bool = False  # another client of the tracker waits for a board
    started: bool = False  # boards that come now are news
    closed: bool = False
    lost: int = 0
    trouble: str = ""  # why the last try to get a board failed
    last_ready: float = field(default_factory=time.monotonic)

    def note(self, text: str) -> None:
        """Something for people to read."""
        self.news.put(("note", {"text": text}))

    def pause(self, seconds: float) -> None:
        """Waits, but not beyond the end."""
        with self.lock:
            self.lock.wait_for(lambda: self.closed, seconds)


class Slot:
    """A thread that gets a board, keeps it busy and gives it back."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._settings = shared.settings
        self.link = BoardLink(self._settings.tracker, self._settings.session_seconds)
        self.ready = False  # it holds a board that works
        self._since = 0.0  # when it got it
        # The link's process ends with the thread that starts it: the thread must outlive its use.
        self.thread = threading.Thread(target=self._serve, name="board", daemon=True)

    def _serve(self) -> None:
        try:
            while self._stays():
                if not (self.ready and self.link.address) and not self._get_board():
                    continue
                work = self._next()
                if work is not None:
                    self._do(work)
                self._be_fair()
        except LinkClosed:
            pass
        finally:
            self.link.end()
            with self._shared.lock:
                self.ready = False
                self._shared.slots.remove(self)
                self._shared.lock.notify_all()

    def _stays(self) -> bool:
        with self._shared.lock:
            surplus = len(self._shared.slots) > max(1, self._shared.wanted)
            return not self._shared.closed and (self.ready or not surplus)

    def _get_board(self) -> bool:
        """Opens a session at a free board, if it is one to work with."""
        with self._shared.lock:
            self.ready = False
        try:
            address = self.link.connect()
            facts = {"board": address, **self.link.facts()}
        except BoardFailed as error:
            self._shared.trouble = str(error)
            if error.address is not None:
                self._failed(error.address, str(error))
            return False
        except MissingError as error:
            self._shared.trouble = str(error)
            self._shared.pause(0.5)
            return False
        try:
            self._admit(address, facts)
        except InputError as error:
            if self._shared.health.refuse(address, str(error)):
                self._shared.note(str(error))
                with self._shared.lock:
                    self._shared.lock.notify_all()
        rest = self._shared.health.rest(address)
        if rest > 0:
            # Kept, or the tracker would hand it out again at once.
            self._shared.pause(min(rest, self._settings.session_seconds / 2))
            return False
        if not self._cool():
            return False
        with self._shared.lock:
            self.ready, self._since = True, time.monotonic()
            news = address not in self._shared.facts
            self._shared.facts[address] = facts
            self._shared.last_ready = time.monotonic()
            self._shared.lock.notify_all()
        if news and self._shared.started:
            self._shared.news.put(("board", facts))
        return True

    def _admit(self, address: str, facts: Mapping[str, Any]) -> None:
        """Refuses a board that does not fit the target, or the boards there are.

        Raises:
            InputError: says why.
        """
        match.check_match(self._settings.target, address, facts)
        emulated = bool(facts.get("emulated"))
        if self._settings.evaluator == "icount" and not facts.get("icount"):
            raise InputError(
                f"the board at {address} counts no instructions; start emulated boards with: "
                "tvmkd board emulate --icount"
            )
        with self._shared.lock:
            if self._shared.emulated is None:
                self._shared.emulated = emulated
            if self._shared.emulated != emulated:
                kinds = ("a real board", "an emulated one")
                raise InputError(
                    f"the board at {address} is {kinds[emulated]} and these records are of "
                    f"{kinds[not emulated]}: times of the two are never mixed; give another "
                    "--rpc-key or another --records folder"
                )

    def _cool(self) -> bool:
        """Waits until a hot board is cool enough. False where it was lost meanwhile."""
        resting = False
        while not self._shared.closed:
            now = self.link.telemetry()
            if now is None:
                return False
            if not self._shared.health.too_hot(now, resting=resting):
                if resting:
                    self._shared.note(f"the board at {self.link.address} has cooled down")
                return True
            if not resting:
                resting = True
                self.ready = False
                self._shared.note(
                    f"the board at {self.link.address} rests: it is at {now.get('celsius')} C"
                    + (" and throttled" if now.get("throttled") else "")
                )
            self._shared.last_ready = time.monotonic()  # it is there, only hot
            self._shared.pause(COOL_SECONDS)
        return False

    def _next(self) -> Work | None:
        """The next job; None where nothing came for a moment."""
        with self._shared.lock:
            self._shared.lock.wait_for(lambda: self._shared.todo or self._shared.closed, 1.0)
            if self._shared.closed or not self._shared.todo:
                return None
            # A second try goes to another board where one is at work.
            for index, work in enumerate(self._shared.todo):
                if self.link.address not in work.failed_on or not self._others():
                    del self._shared.todo[index]
                    return work
        self._shared.pause(0.1)
        return None

    def _others(self) -> bool:
        return any(other.ready for other in self._shared.slots if other is not self)

    def _do(self, work: Work) -> None:
        address = self.link.address
        assert address is not None
        started = time.monotonic()
        params = {
            "args": [[dtype, list(shape)] for dtype, shape in work.job.args],
            "device": self._settings.target.get("device", "cpu"),
            "best": work.job.best() if self._settings.evaluator == "time" else None,
            "reject": self._settings.reject,
            "evaluator": self._settings.evaluator,
            "plain": None if work.job.plain is None else str(work.job.plain),
        }
        delay = float(self._shared.facts.get(address, {}).get("declared_delay_s") or 0.0)
        limit = self._settings.run_timeout + 6 * delay
        if work.job.plain is not None:
            limit *= PLAIN_LOOPS_TAKE
        try:
            attempt = self.link.measure(params, work.job.path, limit)
        except LinkClosed:
            work.future.cancel()
            raise
        if attempt.kind == "session_due":
            self._put_back(work)
        elif attempt.kind in {"run_crash", "run_timeout"}:
            self._lost(work, attempt, address, time.monotonic() - started)
        else:
            self._shared.health.succeeded(address)
            self._finish(work, attempt, address, time.monotonic() - started)
            if attempt.facts.get("throttled") or attempt.facts.get("celsius"):
                self._cool_if_hot(attempt.facts)

    def _cool_if_hot(self, facts: Mapping[str, Any]) -> None:
        if self._shared.health.too_hot(facts, resting=False):
            self._cool()
            self.ready = self.link.address is not None

    def _put_back(self, work: Work) -> None:
        with self._shared.lock:
            self._shared.todo.appendleft(work)
            self._shared.lock.notify_all()

    def _lost(self, work: Work, attempt: Attempt, address: str, wall: float) -> None:
        """A session was lost, or there was no answer: the board's fault, or the candidate's?"""
        self._shared.lost += 1
        work.failed_on.append(address)
        if len(work.failed_on) >= ATTEMPTS:
            for board in work.failed_on[:-1]:
                self._shared.health.forgiven(board)
            self._finish(work, attempt, address, wall)
            return
        self._failed(address, attempt.error or "")
        self._put_back(work)

    def _failed(self, address: str, why: str) -> None:
        rest = self._shared.health.failed(address)
        if rest is not None:
            self._shared.note(f"the board at {address} is left out for {rest:.0f} s: {why}")

    def _finish(self, work: Work, attempt: Attempt, address: str, wall: float) -> None:
        work.future.set_result(
            RunResult(attempt.seconds, attempt.kind, attempt.error, address, wall, attempt.facts)
        )

    def _be_fair(self) -> None:
        """Gives the board back where somebody else waits for one: tuners take turns."""
        with self._shared.lock:
            had = time.monotonic() - self._since
            if not self._shared.others_wait or self.link.address is None:
                return
            if self._shared.todo and had < FAIR_SECONDS:
                return
            self.ready = False
            self._shared.others_wait = False
        self.link.drop()
