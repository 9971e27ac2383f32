"""A board's worker with a fake session: its rules at their edges, and one step at a time."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tvmkd.base.errors import InputError, MissingError
from tvmkd.tuning import board_worker
from tvmkd.tuning.board_session import Attempt, BoardFailed, SessionClosed
from tvmkd.tuning.board_worker import (
    BoardWorker,
    Settings,
    Shared,
    check_admission,
    gives_way,
    is_candidates_fault,
    is_surplus,
    next_job,
    time_limit,
)
from tvmkd.tuning.canary import FACT, LONGEST
from tvmkd.tuning.measurement import RunJob, RunResult, Work
from tvmkd.tuning.quarantine import MOST_FAILURES, Quarantine

HERE, THERE = "10.0.0.1:9090", "10.0.0.2:9090"
TARGET: dict[str, Any] = {"name": "t", "device": "cuda"}


def job(**values: Any) -> RunJob:
    return RunJob(Path("k.so"), [("float32", [2, 3])], **values)


def work(*failed_on: str, **values: Any) -> Work:
    return Work(job(**values), Future(), list(failed_on))


class FakeSession:
    """Stands for the session: gives the next prepared answer of each kind, or raises it."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, list[Any]] = {
            name: list(values) if isinstance(values, list) else [values]
            for name, values in answers.items()
        }
        self.address: str | None = None
        self.calls: list[str] = []
        self.measured: list[tuple[dict[str, Any], Path, float]] = []

    def _answer(self, name: str, default: Any) -> Any:
        self.calls.append(name)
        values = self.answers.get(name) or [default]
        value = values.pop(0) if len(values) > 1 else values[0]
        if isinstance(value, BaseException):
            raise value
        return value

    def connect(self) -> str:
        self.address = self._answer("connect", HERE)
        assert self.address is not None
        return self.address

    def facts(self, device: str = "cpu") -> dict[str, Any]:
        answer: dict[str, Any] = self._answer("facts", {"threads": 4})
        return answer

    def telemetry(self) -> dict[str, Any] | None:
        answer: dict[str, Any] | None = self._answer("telemetry", {})
        if answer is None:
            self.address = None
        return answer

    def measure(self, params: dict[str, Any], path: Path, limit: float) -> Attempt:
        self.measured.append((params, path, limit))
        attempt: Attempt = self._answer("measure", Attempt(None, None, [2.0]))
        if attempt.kind in {"run_crash", "run_timeout", "session_due"}:
            self.address = None
        return attempt

    def drop(self) -> None:
        self.calls.append("drop")
        self.address = None

    def end(self) -> None:
        self.calls.append("end")
        self.address = None


class Ground:
    """A worker, what it shares, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, session: FakeSession, **kind: Any) -> None:
        self.now = 1000.0
        monkeypatch.setattr(board_worker, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(board_worker, "IDLE_SECONDS", 0.0)
        settings = Settings(
            {"host": "h", "port": 1, "key": "k"},
            kind.get("target", TARGET),
            kind.get("run_timeout", 10.0),
            60.0,
            5.0,
            kind.get("evaluator", "time"),
        )
        thermal = kind.get("thermal", {})
        self.shared = Shared(settings, Quarantine(thermal, lambda: self.now), kind.get("emulated"))
        self.pauses: list[float] = []
        self.shared.pause = self._pause  # type: ignore[method-assign]
        self.worker = BoardWorker(self.shared)
        self.session = session
        self.worker.session = session  # type: ignore[assignment]
        self.shared.workers.append(self.worker)

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def submit(self, *works: Work) -> None:
        self.shared.todo.extend(works)

    def news(self) -> list[tuple[str, dict[str, Any]]]:
        found = []
        while not self.shared.news.empty():
            found.append(self.shared.news.get())
        return found

    def notes(self) -> list[str]:
        return [data["text"] for name, data in self.news() if name == "note"]


def start(monkeypatch: pytest.MonkeyPatch, kind: Any = None, **answers: Any) -> Ground:
    return Ground(monkeypatch, FakeSession(**answers), **(kind or {}))


# The rules.


def test_the_constants_are_what_the_docs_say() -> None:
    assert (board_worker.ATTEMPTS, board_worker.PLAIN_LOOPS_TAKE) == (2, 3)
    assert (board_worker.FAIR_SECONDS, board_worker.COOL_SECONDS) == (5.0, 2.0)
    assert (board_worker.IDLE_SECONDS, board_worker.RETRY_SECONDS) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("failed_on", "fault"),
    [([], False), ([HERE], False), ([HERE, THERE], True), ([HERE, HERE], True)],
)
def test_two_failures_on_any_boards_are_the_candidates(failed_on: list[str], fault: bool) -> None:
    assert is_candidates_fault(failed_on) == fault


def test_a_limit_grows_with_the_boards_delay_and_for_plain_loops() -> None:
    assert time_limit(job(), 10.0, 0.0) == 10.0
    assert time_limit(job(), 10.0, 0.5) == 13.0
    assert time_limit(job(plain=Path("p")), 10.0, 0.0) == 30.0
    assert time_limit(job(plain=Path("p")), 10.0, 0.5) == 39.0


@pytest.mark.parametrize(
    ("todo", "others", "index"),
    [
        ([], True, None),
        ([work()], True, 0),
        ([work(), work()], True, 0),
        ([work(HERE), work()], True, 1),
        ([work(HERE), work()], False, 0),
        ([work(THERE), work()], True, 0),
        ([work(HERE), work(HERE)], True, None),
        ([work(HERE)], False, 0),
    ],
)
def test_a_second_attempt_goes_to_another_board_where_one_is_at_work(
    todo: list[Work], others: bool, index: int | None
) -> None:
    assert next_job(todo, HERE, others) == index


@pytest.mark.parametrize(
    ("others_wait", "jobs_left", "held", "way"),
    [
        (False, False, 99.0, False),
        (False, True, 99.0, False),
        (True, False, 0.0, True),
        (True, True, 4.9, False),
        (True, True, 5.0, True),
        (True, True, 99.0, True),
    ],
)
def test_a_board_is_given_up_when_another_client_waits_and_its_turn_is_over(
    others_wait: bool, jobs_left: bool, held: float, way: bool
) -> None:
    assert gives_way(others_wait, jobs_left, held) == way


@pytest.mark.parametrize(
    ("workers", "wanted", "surplus"),
    [(1, 0, False), (1, 1, False), (2, 0, True), (2, 1, True), (2, 2, False), (3, 2, True)],
)
def test_one_worker_stays_without_a_board(workers: int, wanted: int, surplus: bool) -> None:
    assert is_surplus(workers, wanted) == surplus


def settings(evaluator: str = "time", target: Any = None) -> Settings:
    return Settings({}, target or {"name": "t"}, 1.0, 1.0, 1.0, evaluator)


@pytest.mark.parametrize("found", [True, False])
def test_the_first_board_decides_and_its_like_is_admitted(found: bool) -> None:
    assert check_admission(settings(), None, HERE, {"emulated": found}) is found
    assert check_admission(settings(), found, HERE, {"emulated": found}) is found


def test_a_server_that_tells_nothing_is_a_real_board() -> None:
    assert check_admission(settings(), None, HERE, {}) is False


@pytest.mark.parametrize(
    ("there", "found", "message"),
    [
        (True, False, "is a real board and these records are of an emulated one: times"),
        (False, True, "is an emulated one and these records are of a real board: times"),
    ],
)
def test_real_and_emulated_boards_are_never_mixed(there: bool, found: bool, message: str) -> None:
    with pytest.raises(InputError, match=f"the board at {HERE} {message}"):
        check_admission(settings(), there, HERE, {"emulated": found})


def test_instructions_are_counted_only_where_they_can_be() -> None:
    with pytest.raises(InputError, match="counts no instructions"):
        check_admission(settings("icount"), None, HERE, {"emulated": True})
    assert check_admission(settings("icount"), None, HERE, {"emulated": True, "icount": True})
    assert check_admission(settings(), None, HERE, {"emulated": True, "icount": False})


def test_a_board_of_another_machine_is_refused() -> None:
    target = {"name": "t", "toolchain": {"triple": "aarch64-linux-gnu"}}
    with pytest.raises(InputError, match=f"at {HERE} .*it is x86_64 and the target is aarch64"):
        check_admission(settings(target=target), None, HERE, {"machine": "x86_64"})


# One step.


def test_nothing_has_happened_at_the_start() -> None:
    shared = Shared(settings(), Quarantine({}), None)
    assert (shared.wanted, shared.lost, shared.trouble) == (0, 0, "")
    assert [shared.others_wait, shared.started, shared.closed] == [False] * 3
    assert (list(shared.todo), shared.workers, shared.facts) == ([], [], {})
    assert shared.last_ready > 0
    worker = BoardWorker(shared)
    assert worker.ready is False
    assert (worker.thread.name, worker.thread.daemon) == ("board", True)


def test_a_job_is_measured_and_its_result_has_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = Attempt(None, None, [2.0, 3.0], {"spread": 0.1})
    ground = start(monkeypatch, {"run_timeout": 7.0}, measure=attempt)
    done = work(best=lambda: 4.0)
    ground.submit(done)
    measure = ground.session.measure

    def slowly(*given: Any) -> Attempt:
        ground.now += 3.0
        return measure(*given)

    ground.session.measure = slowly  # type: ignore[method-assign]
    ground.worker.step()
    assert done.future.result(0) == RunResult([2.0, 3.0], None, None, HERE, 3.0, {"spread": 0.1})
    assert ground.session.calls == ["connect", "facts", "telemetry", "measure"]
    ((params, path, limit),) = ground.session.measured
    assert (path, limit) == (Path("k.so"), 7.0)
    assert params == {
        "args": [["float32", [2, 3]]],
        "device": "cuda",
        "best": 4.0,
        "reject": 5.0,
        "evaluator": "time",
        "plain": None,
        "canary": None,
    }
    assert ground.worker.ready
    assert ground.shared.facts == {HERE: {"board": HERE, "threads": 4}}
    assert ground.shared.last_ready == 1000.0
    assert ground.news() == []


def test_what_a_target_and_a_job_leave_out_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"emulated": True, "icount": True, "declared_delay_s": 0.5}
    ground = start(monkeypatch, {"target": {}, "evaluator": "icount"}, facts=facts)
    ground.submit(work(best=lambda: 4.0, plain=Path("plain.so")))
    ground.worker.step()
    ((params, _, limit),) = ground.session.measured
    assert (params["device"], params["best"], params["plain"]) == ("cpu", None, "plain.so")
    assert limit == 39.0


def test_a_session_stays_open_between_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch)
    ground.submit(work(), work())
    ground.worker.step()
    ground.worker.step()
    assert ground.session.calls == ["connect", "facts", "telemetry", "measure", "measure"]


@pytest.mark.parametrize("kind", ["run_error", "wrong_output"])
def test_a_candidates_own_error_is_its_result_at_once(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    ground = start(monkeypatch, measure=Attempt(kind, "why"))
    failed = work()
    ground.submit(failed)
    ground.worker.step()
    result = failed.future.result(0)
    assert (result.error_kind, result.error, result.seconds) == (kind, "why", None)
    assert ground.shared.lost == 0


def test_a_due_session_is_opened_again_and_the_job_is_not_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = work(), work()
    ground = start(monkeypatch, measure=[Attempt("session_due"), Attempt(None, None, [1.0])])
    ground.submit(first, second)
    ground.worker.step()
    assert list(ground.shared.todo) == [first, second]
    assert (first.failed_on, ground.shared.lost) == ([], 0)
    ground.worker.step()
    assert first.future.done()
    assert ground.session.calls.count("connect") == 2


@pytest.mark.parametrize("kind", ["run_crash", "run_timeout"])
def test_a_first_failure_is_the_boards_and_the_job_comes_again_first(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    first, second = work(), work()
    ground = start(monkeypatch, measure=Attempt(kind, "gone"))
    ground.submit(first, second)
    ground.worker.step()
    assert list(ground.shared.todo) == [first, second]
    assert (first.failed_on, ground.shared.lost) == ([HERE], 1)
    assert not first.future.done()


def test_a_second_failure_is_the_candidates_and_no_board_is_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ground = start(monkeypatch, measure=Attempt("run_crash", "gone"))
    for number in range(4 * MOST_FAILURES):
        twice = work()
        ground.submit(twice)
        ground.worker.step()
        ground.worker.step()
        result = twice.future.result(0)
        assert (result.error_kind, result.error, result.board) == ("run_crash", "gone", HERE)
        assert twice.failed_on == [HERE, HERE]
        assert ground.shared.lost == 2 * (number + 1)
    assert ground.notes() == []


def test_only_the_candidates_own_failures_are_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch, measure=Attempt("run_crash", "gone"))
    for _ in range(MOST_FAILURES - 1):
        ground.shared.quarantine.failed(HERE)
        ground.shared.quarantine.failed(THERE)
    ground.submit(work(THERE))
    ground.worker.step()
    ground.shared.quarantine.failed(THERE)
    assert ground.shared.quarantine.rest(THERE) == 0, "its failure is forgiven"
    ground.shared.quarantine.failed(HERE)
    assert ground.shared.quarantine.rest(HERE) > 0, "the last failure was never counted"


def test_failures_in_a_row_take_the_board_out_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch, measure=Attempt("run_crash", "it fell"))
    for _ in range(MOST_FAILURES):
        ground.submit(work())
        ground.worker.step()
        ground.shared.todo.clear()
    assert ground.notes() == [f"the board at {HERE} is left out for 30 s: it fell"]
    ground.submit(work())
    ground.worker.step()
    assert ground.pauses == [30.0], "half a session's seconds, or the rest"
    assert not ground.worker.ready
    ground.worker.step()
    assert ground.worker.ready


def test_a_success_clears_a_boards_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch)
    for _ in range(5):
        assert ground.shared.quarantine.failed(HERE) is None
        ground.submit(work())
        ground.worker.step()


def test_a_board_that_does_not_answer_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch, connect=BoardFailed("no handshake", THERE))
    for _ in range(MOST_FAILURES):
        ground.worker.step()
    assert ground.notes() == [f"the board at {THERE} is left out for 30 s: no handshake"]
    assert ground.shared.trouble == "no handshake"
    assert not ground.worker.ready
    assert ground.pauses == []


def test_a_failure_without_an_address_blames_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch, facts=BoardFailed("gone", None))
    for _ in range(MOST_FAILURES):
        ground.worker.step()
    assert ground.notes() == []


def test_without_a_free_board_it_asks_again_a_little_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ground = start(monkeypatch, connect=MissingError("all are busy"))
    ground.submit(work())
    ground.worker.step()
    assert ground.pauses == [0.5]
    assert ground.shared.trouble == "all are busy"
    assert ground.session.measured == []
    assert not ground.worker.ready


def test_a_refused_board_is_held_gets_no_work_and_is_news_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ground = start(monkeypatch, {"emulated": True})
    ground.submit(work())
    for _ in range(3):
        ground.worker.step()
    assert ground.session.measured == []
    assert ground.pauses == [30.0] * 3, "half of what a session may take"
    (note,) = ground.notes()
    assert note.startswith(f"the board at {HERE} is a real board and these records")
    assert ground.shared.quarantine.refusals() == [note]
    assert ground.shared.facts == {}


def test_the_first_admitted_board_decides_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch, {"target": {}}, facts={"emulated": True})
    ground.worker.step()
    assert ground.shared.emulated is True
    assert ground.worker.ready


def test_a_board_that_comes_later_is_news_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch)
    ground.shared.started = True
    ground.worker.step()
    assert ground.news() == [("board", {"board": HERE, "threads": 4})]
    ground.worker.ready = False
    ground.worker.step()
    assert ground.news() == []


THERMAL = {"pause_celsius": 80.0, "resume_celsius": 65.0}


def test_a_hot_board_cools_down_before_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    heat = [{"celsius": 85.0, "throttled": True}, {"celsius": 70.0}, {"celsius": 64.0}]
    ground = start(monkeypatch, {"thermal": THERMAL}, telemetry=heat)
    ground.shared.last_ready = 0.0
    ground.submit(work())
    ground.worker.step()
    assert ground.pauses == [2.0, 2.0]
    assert ground.notes() == [
        f"the board at {HERE} rests: it is at 85.0 C and throttled",
        f"the board at {HERE} has cooled down",
    ]
    assert len(ground.session.measured) == 1


def test_while_a_board_is_hot_the_runner_does_not_give_it_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heat = [{"celsius": 85.0}, {"celsius": 85.0}, None]
    ground = start(monkeypatch, {"thermal": THERMAL}, telemetry=heat)
    ground.worker.step()
    assert ground.shared.last_ready == 1002.0
    assert not ground.worker.ready, "the session was lost while the board was cooling"
    assert ground.notes() == [f"the board at {HERE} rests: it is at 85.0 C"]


def test_a_board_that_is_hot_after_a_job_rests_before_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempt = Attempt(None, None, [1.0], {"celsius": 90.0, "throttled": False})
    heat = [{"celsius": 50.0}, {"celsius": 90.0}, {"celsius": 60.0}]
    ground = start(monkeypatch, {"thermal": THERMAL}, telemetry=heat, measure=attempt)
    ground.submit(work())
    ground.worker.step()
    assert ground.pauses == [2.0]
    assert ground.worker.ready
    assert len(ground.notes()) == 2


@pytest.mark.parametrize(
    ("facts", "asked"),
    [
        ({}, 1),
        ({"celsius": 79.0, "throttled": False}, 1),
        ({"celsius": None, "throttled": True}, 2),
        ({"celsius": 80.0, "throttled": None}, 2),
    ],
)
def test_after_a_job_only_heat_is_looked_into(
    monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], asked: int
) -> None:
    attempt = Attempt(None, None, [1.0], facts)
    ground = start(monkeypatch, {"thermal": THERMAL}, measure=attempt)
    ground.submit(work())
    ground.worker.step()
    assert ground.session.calls.count("telemetry") == asked
    assert ground.worker.ready


def test_a_board_lost_while_it_cools_is_no_longer_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = Attempt(None, None, [1.0], {"celsius": 90.0})
    ground = start(monkeypatch, {"thermal": THERMAL}, telemetry=[{}, None], measure=attempt)
    ground.submit(work())
    ground.worker.step()
    assert not ground.worker.ready


def test_an_idle_board_goes_back_where_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch)
    ground.worker.step()
    assert "drop" not in ground.session.calls
    ground.shared.others_wait = True
    ground.worker.step()
    assert ground.session.calls[-1] == "drop"
    assert not ground.worker.ready
    assert not ground.shared.others_wait, "one board is enough for one who waits"


def test_a_busy_board_goes_back_after_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch)
    ground.shared.others_wait = True
    ground.submit(*(work() for _ in range(9)))
    ground.worker.step()
    ground.now += 4.9
    ground.worker.step()
    assert "drop" not in ground.session.calls
    ground.now += 0.1
    ground.worker.step()
    assert ground.session.calls[-1] == "drop"


def test_a_lost_session_is_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch, measure=Attempt("run_crash", "gone"))
    ground.shared.others_wait = True
    ground.submit(work())
    ground.worker.step()
    assert "drop" not in ground.session.calls
    assert ground.shared.others_wait


def test_a_second_attempt_is_left_to_a_board_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch)
    again = work(HERE)
    other = BoardWorker(ground.shared)
    ground.shared.workers.append(other)
    other.ready = True
    ground.submit(again)
    ground.worker.step()
    assert list(ground.shared.todo) == [again]
    assert ground.pauses == [0.1]
    other.ready = False
    ground.worker.step()
    assert again.future.done()


def test_a_closed_session_cancels_the_job_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch, measure=SessionClosed())
    held = work()
    ground.submit(held)
    with pytest.raises(SessionClosed):
        ground.worker.step()
    assert held.future.cancelled()


def test_the_end_takes_no_more_work(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch)
    ground.worker.step()
    ground.shared.closed = True
    ground.submit(work())
    ground.worker.step()
    assert ground.session.measured == []


# The thread.


def test_the_thread_works_until_the_end_and_tidies_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch)
    first = work()
    ground.shared.wanted = 1
    ground.submit(first)
    ground.worker.thread.start()
    assert first.future.result(10).seconds == [2.0]
    with ground.shared.lock:
        ground.shared.closed = True
        ground.shared.lock.notify_all()
    ground.worker.thread.join(10)
    assert not ground.worker.thread.is_alive()
    assert ground.shared.workers == []
    assert ground.session.calls[-1] == "end"
    assert not ground.worker.ready


def test_the_thread_ends_with_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = start(monkeypatch, connect=SessionClosed())
    ground.worker.thread.start()
    ground.worker.thread.join(10)
    assert ground.shared.workers == []


def test_a_worker_without_a_board_ends_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ground = start(monkeypatch)
    ground.shared.workers.append(BoardWorker(ground.shared))
    ground.shared.wanted = 1
    ground.worker.thread.start()
    ground.worker.thread.join(10)
    assert ground.session.calls == ["end"]
    assert len(ground.shared.workers) == 1


def test_a_pause_ends_with_the_run_or_its_seconds() -> None:
    shared = Shared(settings(), Quarantine({}), None)
    waits: list[tuple[bool, float]] = []

    class Condition:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

        def wait_for(self, over: Any, seconds: float) -> None:
            waits.append((over(), seconds))

    shared.lock = Condition()  # type: ignore[assignment]
    shared.pause(7.0)
    shared.closed = True
    shared.pause(3600.0)
    assert waits == [(False, 7.0), (True, 3600.0)]


def test_a_kernel_with_threads_is_measured_beside_a_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = [(None, None), (8e-6, 0.2), (None, None), (None, None)]
    answers = [Attempt(None, None, [2.0], {FACT: one}, took) for one, took in watched]
    ground = Ground(monkeypatch, FakeSession(measure=answers))
    ground.submit(work())
    ground.worker.step()
    ground.shared.canary = RunJob(Path("canary.so"), [("float32", [4])])
    ground.submit(work(), work(threads=False), work(plain=Path("plain.so")))
    for _ in range(3):
        ground.worker.step()
    asked = [params["canary"] for params, *_ in ground.session.measured]
    known = {"path": "canary.so", "args": [["float32", [4]]], "patience": LONGEST}
    assert asked == [None, {**known, "usual": None}, None, None]
    assert ground.shared.calm.params(HERE)["usual"] == 8e-6


def test_what_a_board_needs_without_a_canary_is_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads to a slow board, and kernels on one core, use up no patience."""
    answers = [Attempt(None, None, [2.0], {}) for _ in range(9)]
    ground = Ground(monkeypatch, FakeSession(measure=answers))
    ground.shared.canary = RunJob(Path("canary.so"), [("float32", [4])])
    told = list[float]()
    monkeypatch.setattr(ground.shared.calm, "measured", lambda *given: told.append(given[2]))
    ground.submit(*(work(threads=False) for _ in range(9)))
    for _ in range(9):
        ground.worker.step()
    assert told == []


@pytest.mark.parametrize("facts", [{"emulated": True}, {"declared_delay_s": 0.1}])
def test_boards_whose_times_mean_nothing_run_no_canary(
    monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any]
) -> None:
    ground = Ground(monkeypatch, FakeSession())
    ground.submit(work(), work())
    ground.worker.step()
    ground.shared.canary = RunJob(Path("canary.so"), [("float32", [4])])
    ground.shared.facts[HERE] = facts
    ground.worker.step()
    assert [params["canary"] for params, *_ in ground.session.measured] == [None, None]
