"""One thread a board: it opens a session there, gives the board work, and gives the board back.

The rules that decide are functions of their own: which job is next, how long it may take, whose
fault a failure is, when to give the board to another tuner.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tvmkd.base.errors import InputError, MissingError
from tvmkd.boards import match
from tvmkd.tuning.board_session import Attempt, BoardFailed, BoardSession, SessionClosed
from tvmkd.tuning.canary import FACT, Calm
from tvmkd.tuning.measurement import RunJob, RunResult, Work
from tvmkd.tuning.quarantine import Quarantine

FAIR_SECONDS = 5.0  # a board is kept this long, then given up if another client waits for one
COOL_SECONDS = 2.0  # how often a hot board's temperature is read
IDLE_SECONDS = 1.0  # how long one look for the next job waits
RETRY_SECONDS = 0.5  # between two requests for a board
PLAIN_LOOPS_TAKE = 3  # times the limit of a measurement: plain loops are slow, and run once
ATTEMPTS = 2  # after two failures on any boards, the candidate counts as failed
DELAYS = 6  # runs of a measurement that a board with a declared delay delays, at most


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
    """What the workers of one runner share. ``lock`` guards all but ``quarantine`` and ``news``."""

    settings: Settings
    quarantine: Quarantine
    emulated: bool | None
    news: queue.SimpleQueue[tuple[str, dict[str, Any]]] = field(default_factory=queue.SimpleQueue)
    lock: threading.Condition = field(default_factory=threading.Condition)
    todo: deque[Work] = field(default_factory=deque)
    workers: list[BoardWorker] = field(default_factory=list)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the board's address
    wanted: int = 0  # how many boards there are to use
    others_wait: bool = False  # another client of the tracker waits for a board
    started: bool = False  # boards that come now are news
    closed: bool = False
    lost: int = 0
    canary: RunJob | None = None
    calm: Calm = field(default_factory=Calm)
    trouble: str = ""  # why the last try to get a board failed
    last_ready: float = field(default_factory=time.monotonic)

    def note(self, text: str) -> None:
        """Something for people to read."""
        self.news.put(("note", {"text": text}))

    def pause(self, seconds: float) -> None:
        """Waits, but not beyond the end."""
        with self.lock:
            self.lock.wait_for(lambda: self.closed, seconds)


def is_candidates_fault(failed_on: Sequence[str]) -> bool:
    """True if a job has failed often enough, on any boards, to count as a failed candidate.

    Args:
        failed_on: the board of each failure.
    """
    return len(failed_on) >= ATTEMPTS


def time_limit(job: RunJob, run_timeout: float, delay: float) -> float:
    """Seconds after which a job counts as hung.

    Args:
        run_timeout: the limit of an ordinary measurement.
        delay: seconds that the board adds to each run.
    """
    limit = run_timeout + DELAYS * delay
    return limit if job.plain is None else PLAIN_LOOPS_TAKE * limit


def next_job(todo: Sequence[Work], address: str | None, others_at_work: bool) -> int | None:
    """The index of the next job for a board, the oldest first; None: none for this board now.

    A second attempt goes to another board where one is at work.
    """
    for index, work in enumerate(todo):
        if address not in work.failed_on or not others_at_work:
            return index
    return None


def gives_way(others_wait: bool, jobs_left: bool, held_seconds: float) -> bool:
    """True if a board goes back to the tracker so that another client gets it."""
    return others_wait and not (jobs_left and held_seconds < FAIR_SECONDS)


def is_surplus(workers: int, wanted: int) -> bool:
    """True if there are more workers than boards. One stays and waits for a board to come."""
    return workers > max(1, wanted)


def check_admission(
    settings: Settings, emulated: bool | None, address: str, facts: Mapping[str, Any]
) -> bool:
    """Checks that a board fits the target and the boards there are.

    Args:
        emulated: whether the other boards, or the folder's records, are emulated; None: neither
            decides yet.
        facts: what the board answers.

    Returns:
        whether this board is emulated.

    Raises:
        InputError: it does not fit; says why.
    """
    match.check_match(settings.target, address, facts)
    found = bool(facts.get("emulated"))
    if settings.evaluator == "icount" and not facts.get("icount"):
        raise InputError(
            f"the board at {address} counts no instructions; start emulated boards with: "
            "tvmkd board emulate --icount"
        )
    if emulated is not None and emulated != found:
        kinds = ("a real board", "an emulated one")
        raise InputError(
            f"the board at {address} is {kinds[found]} and these records are of "
            f"{kinds[emulated]}: times of the two are never mixed; give another "
            "--rpc-key or another --records folder"
        )
    return found


class BoardWorker:
    """A thread that opens a session at a free board, gives the board work, and frees it again.

    Attributes:
        session: its session.
        ready: it holds a board that works.
        thread: runs :meth:`step` until the end.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._settings = shared.settings
        self.session = BoardSession(self._settings.tracker, self._settings.session_seconds)
        self.ready = False
        self._since = 0.0  # when it got its board
        # The session's process ends with the thread that starts it, so it is started there.
        self.thread = threading.Thread(target=self._serve, name="board", daemon=True)

    def _serve(self) -> None:
        try:
            while self._stays():
                self.step()
        except SessionClosed:
            pass
        finally:
            self.session.end()
            with self._shared.lock:
                self.ready = False
                self._shared.workers.remove(self)
                self._shared.lock.notify_all()

    def step(self) -> None:
        """Gets a board if it has none, then does one job, then gives way to others."""
        if not (self.ready and self.session.address) and not self._get_board():
            return
        work = self._next()
        if work is not None:
            self._do(work)
        self._give_way()

    def _stays(self) -> bool:
        with self._shared.lock:
            surplus = is_surplus(len(self._shared.workers), self._shared.wanted)
            return not self._shared.closed and (self.ready or not surplus)

    def _get_board(self) -> bool:
        """Opens a session at a free board. False: none was free, or this one must not be used."""
        with self._shared.lock:
            self.ready = False
        address = ""
        try:
            address = self.session.connect()
            device = self._settings.target.get("device", "cpu")
            facts = {"board": address, **self.session.facts(device)}
        except BoardFailed as error:
            self._shared.trouble = str(error)
            if error.address is not None:
                self._failed(error.address, str(error))
            return False
        except MissingError as error:
            self._shared.trouble = (
                f"the board at {address} fails: {error}" if address else str(error)
            )
            self._shared.pause(RETRY_SECONDS)
            return False
        try:
            self._admit(address, facts)
        except InputError as error:
            if self._shared.quarantine.refuse(address, str(error)):
                self._shared.note(str(error))
                with self._shared.lock:
                    self._shared.lock.notify_all()
        rest = self._shared.quarantine.rest(address)
        if rest > 0:
            # Its session stays open: the tracker would give us the same board again at once.
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
        with self._shared.lock:  # the first board decides for all
            self._shared.emulated = check_admission(
                self._settings, self._shared.emulated, address, facts
            )

    def _cool(self) -> bool:
        """Waits until a hot board is cool enough. False: the session was lost while it waited."""
        resting = False
        while not self._shared.closed:
            now = self.session.telemetry()
            if now is None:
                return False
            if not self._shared.quarantine.too_hot(now, resting=resting):
                if resting:
                    self._shared.note(f"the board at {self.session.address} has cooled down")
                return True
            if not resting:
                resting = True
                self.ready = False
                self._shared.note(
                    f"the board at {self.session.address} rests: it is at {now.get('celsius')} C"
                    + (" and throttled" if now.get("throttled") else "")
                )
            self._shared.last_ready = time.monotonic()  # it is there, only hot
            self._shared.pause(COOL_SECONDS)
        return False

    def _next(self) -> Work | None:
        """The next job; None where none came in time."""
        with self._shared.lock:
            self._shared.lock.wait_for(
                lambda: self._shared.todo or self._shared.closed, IDLE_SECONDS
            )
            if self._shared.closed or not self._shared.todo:
                return None
            others = any(other.ready for other in self._shared.workers if other is not self)
            index = next_job(self._shared.todo, self.session.address, others)
            if index is not None:
                work = self._shared.todo[index]
                del self._shared.todo[index]
                return work
        self._shared.pause(0.1)  # all are second attempts, for another board
        return None

    def _do(self, work: Work) -> None:
        address = self.session.address
        assert address is not None
        started = time.monotonic()
        params = {
            "args": [[dtype, list(shape)] for dtype, shape in work.job.args],
            "device": self._settings.target.get("device", "cpu"),
            "best": work.job.best() if self._settings.evaluator == "time" else None,
            "reject": self._settings.reject,
            "evaluator": self._settings.evaluator,
            "plain": None if work.job.plain is None else str(work.job.plain),
            "canary": self._canary(work.job, address),
        }
        delay = float(self._shared.facts.get(address, {}).get("declared_delay_s") or 0.0)
        limit = time_limit(work.job, self._settings.run_timeout, delay)
        try:
            attempt = self.session.measure(params, work.job.path, limit)
        except SessionClosed:
            work.future.cancel()
            raise
        if attempt.kind == "session_due":
            self._put_back(work)
        elif attempt.kind in {"run_crash", "run_timeout"}:
            self._lost(work, attempt, address, time.monotonic() - started)
        else:
            self._shared.quarantine.succeeded(address)
            if attempt.watched is not None:
                self._shared.calm.measured(address, attempt.facts.get(FACT), attempt.watched)
            self._finish(work, attempt, address, time.monotonic() - started)
            if attempt.facts.get("throttled") or attempt.facts.get("celsius"):
                self._cool_if_hot(attempt.facts)

    def _canary(self, job: RunJob, address: str) -> dict[str, Any] | None:
        """What the board needs to run the canary beside a job; None: it is not to."""
        canary, facts = self._shared.canary, self._shared.facts.get(address, {})
        meaningless = facts.get("emulated") or facts.get("declared_delay_s")
        if canary is None or not job.threads or job.plain is not None or meaningless:
            return None
        args = [[dtype, list(shape)] for dtype, shape in canary.args]
        return {"path": str(canary.path), "args": args, **self._shared.calm.params(address)}

    def _cool_if_hot(self, facts: Mapping[str, Any]) -> None:
        if self._shared.quarantine.too_hot(facts, resting=False):
            self._cool()
            self.ready = self.session.address is not None

    def _put_back(self, work: Work) -> None:
        with self._shared.lock:
            self._shared.todo.appendleft(work)
            self._shared.lock.notify_all()

    def _lost(self, work: Work, attempt: Attempt, address: str, wall: float) -> None:
        """Blames the candidate or the board for a lost session or a missing answer."""
        self._shared.lost += 1
        work.failed_on.append(address)
        if is_candidates_fault(work.failed_on):
            for board in work.failed_on[:-1]:  # the last failure was not counted yet
                self._shared.quarantine.forgiven(board)
            self._finish(work, attempt, address, wall)
            return
        self._failed(address, attempt.error or "")
        self._put_back(work)

    def _failed(self, address: str, why: str) -> None:
        rest = self._shared.quarantine.failed(address)
        if rest is not None:
            self._shared.note(f"the board at {address} is left out for {rest:.0f} s: {why}")

    def _finish(self, work: Work, attempt: Attempt, address: str, wall: float) -> None:
        work.future.set_result(
            RunResult(attempt.seconds, attempt.kind, attempt.error, address, wall, attempt.facts)
        )

    def _give_way(self) -> None:
        """Frees the board if another client of the tracker waits for one: tuners take turns."""
        with self._shared.lock:
            held = time.monotonic() - self._since
            if self.session.address is None:
                return
            if not gives_way(self._shared.others_wait, bool(self._shared.todo), held):
                return
            self.ready = False
            self._shared.others_wait = False
        self.session.drop()
