from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base.errors import MissingError, TvmkdError, WorkerDied, WorkerTimeout
from tvmkd.tuning import board_session
from tvmkd.tuning.board_session import Attempt, BoardFailed, BoardSession, SessionClosed

Answers = dict[str, Any]
LIBRARY = Path("kernel.so")


class FakeChild:
    """Stands for the measuring process: gives one answer a method, or raises it."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.calls: list[tuple[str, dict[str, Any], float]] = []
        self.killed = False

    def call(
        self, method: str, params: dict[str, Any], *, timeout: float, on_event: Any = None
    ) -> Any:
        self.calls.append((method, params, timeout))
        if method == "connect" and on_event is not None and "named" in self.answers:
            on_event("named", {"board": self.answers["named"]})
        answer = self.answers.get(method, {})
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def kill(self) -> None:
        self.killed = True

    def close(self, grace: float) -> None:
        del grace


Start = Callable[..., tuple[BoardSession, FakeChild]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    def made(**answers: Any) -> tuple[BoardSession, FakeChild]:
        child = FakeChild({"connect": {"board": "10.0.0.7:9090"}, **answers})
        monkeypatch.setattr(board_session, "Child", lambda _argv: child)
        return BoardSession({"host": "h", "port": 1, "key": "k"}, 60.0), child

    return made


def test_no_answer_in_time_is_a_timeout(start: Start) -> None:
    session, child = start(measure=WorkerTimeout("measure: the text decides nothing"))
    session.connect()
    attempt = session.measure({}, LIBRARY, 2.0)
    assert attempt == Attempt("run_timeout", "no result in 2 s")
    assert child.killed
    assert session.address is None


def test_a_dead_process_is_a_crash_whatever_its_last_words_are(start: Start) -> None:
    words = "measure: the worker ended with signal SIGSEGV: no answer from the driver"
    session, child = start(measure=WorkerDied(words))
    session.connect()
    assert session.measure({}, LIBRARY, 2.0) == Attempt("run_crash", words)
    assert child.killed
    assert session.address is None


@pytest.mark.parametrize("kind", [None, "run_error", "wrong_output"])
def test_an_answer_keeps_the_session(start: Start, kind: str | None) -> None:
    answer = {"error_kind": kind, "error": "e", "seconds": [1.0], "facts": {"spread": 0.1}}
    session, child = start(measure=answer)
    session.connect()
    attempt = session.measure({"best": 1.0}, LIBRARY, 2.0)
    assert attempt == Attempt(kind, "e", [1.0], {"spread": 0.1})
    assert child.calls[-1] == ("measure", {"best": 1.0, "path": "kernel.so", "limit": 2.0}, 2.0)
    assert session.address == "10.0.0.7:9090"
    assert not child.killed


@pytest.mark.parametrize(
    ("kind", "seen"), [("session_lost", "run_crash"), ("session_due", "session_due")]
)
def test_a_lost_session_leaves_the_process(start: Start, kind: str, seen: str) -> None:
    session, child = start(measure={"error_kind": kind})
    session.connect()
    assert session.measure({}, LIBRARY, 2.0).kind == seen
    assert session.address is None
    assert not child.killed


def test_a_board_that_was_named_and_fails_is_blamed_by_its_address(start: Start) -> None:
    session, child = start(named="10.0.0.7:9090", connect=WorkerTimeout("connect: no answer"))
    with pytest.raises(BoardFailed, match=r"at 10\.0\.0\.7:9090 fails: it accepted") as caught:
        session.connect()
    assert caught.value.address == "10.0.0.7:9090"
    assert child.killed
    assert session.waiting_for is None


def test_a_board_is_waited_for_until_its_facts_are_there(start: Start) -> None:
    session, _ = start(named="10.0.0.7:9090", facts={"cores": 4})
    session.connect()
    assert session.waiting_for == "10.0.0.7:9090"
    session.facts()
    assert session.waiting_for is None


def test_without_a_named_board_nobody_is_blamed(start: Start) -> None:
    session, _ = start(connect=TvmkdError("no tracker at h:1"))
    with pytest.raises(MissingError, match=r"^no tracker at h:1$") as caught:
        session.connect()
    assert not isinstance(caught.value, BoardFailed)


def test_facts_that_do_not_come_fail_the_board(start: Start) -> None:
    session, _ = start(facts=WorkerDied("facts: gone"))
    session.connect()
    with pytest.raises(BoardFailed, match="facts: gone") as caught:
        session.facts()
    assert caught.value.address == "10.0.0.7:9090"
    assert session.address is None


def test_a_closed_session_starts_nothing_and_says_so(start: Start) -> None:
    session, child = start(measure=WorkerDied("killed"))
    session.connect()
    session.close()
    assert child.killed
    with pytest.raises(SessionClosed):
        session.measure({}, LIBRARY, 2.0)
