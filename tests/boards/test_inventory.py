"""The inventory of a tracker with fake boards: which are counted, asked, and how they answer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from tvmkd.base.errors import MissingError, WorkerDied
from tvmkd.boards import inventory

Answer = Callable[[Callable[[str, dict[str, Any]], None]], dict[str, Any]]


class FakeChild:
    """Stands for the process that holds a session."""

    answers: list[Answer]
    made: list[FakeChild]

    def __init__(self, argv: list[str]) -> None:
        assert argv == [sys.executable, "-m", "tvmkd.boards.remote"]
        self.closed = False
        self.made.append(self)

    def call(self, method: str, params: dict[str, Any], *, timeout: float, on_event: Any) -> Any:
        assert (method, timeout) == ("connect", 15.0)
        self.params = params
        assert not any(child.closed for child in self.made), "every session stays open"
        return self.answers.pop(0)(on_event)

    def close(self, grace: float) -> None:
        self.closed = True


def facts(board: str, **more: Any) -> Answer:
    def answer(on_event: Callable[[str, dict[str, Any]], None]) -> dict[str, Any]:
        on_event("named", {"board": board})
        return {"board": board, **more}

    return answer


def fails(error: Exception, board: str | None = None) -> Answer:
    def answer(on_event: Callable[[str, dict[str, Any]], None]) -> dict[str, Any]:
        if board is not None:
            on_event("named", {"board": board})
        raise error

    return answer


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two boards under ``a``, one under ``b``; one client waits for ``b``."""
    FakeChild.made, FakeChild.answers = [], []
    known = [{"key": key, "host": "10.0.0.1", "port": port, "free": 9} for key, port in BOARDS]
    queues = {"a": {"free": 2, "pending": 0}, "b": {"free": 0, "pending": 1}}
    monkeypatch.setattr(inventory, "boards", lambda host, port: known)
    monkeypatch.setattr(inventory, "summary", lambda host, port: {"queue_info": queues})
    monkeypatch.setattr(inventory, "Child", FakeChild)


BOARDS = [("a", 9090), ("a", 9091), ("b", 9092)]


def names(entry: dict[str, Any]) -> list[Any]:
    return [board.get("facts") for board in entry["boards"]]


@pytest.mark.usefixtures("tracker")
def test_each_key_has_its_counts_and_its_boards() -> None:
    a, b = inventory.call("h", 1, ask=False)
    assert (a["key"], a["free"], a["total"], a["waiting"]) == ("a", 2, 2, 0)
    assert (b["key"], b["free"], b["total"], b["waiting"]) == ("b", 0, 1, 1)
    assert a["boards"] == [{"host": "10.0.0.1", "port": 9090}, {"host": "10.0.0.1", "port": 9091}]
    assert FakeChild.made == []


@pytest.mark.usefixtures("tracker")
def test_only_free_boards_are_asked_and_each_answer_is_put_to_its_board() -> None:
    FakeChild.answers = [facts("10.0.0.1:9091", cpu="x"), facts("10.0.0.1:9090", cpu="y")]
    a, b = inventory.call("h", 1)
    assert [each["cpu"] for each in names(a)] == ["y", "x"]
    assert names(b) == [None]
    assert [child.params["key"] for child in FakeChild.made] == ["a", "a"]
    assert FakeChild.made[0].params == {"host": "h", "port": 1, "key": "a", "timeout": 3.0}
    assert all(child.closed for child in FakeChild.made)


@pytest.mark.usefixtures("tracker")
def test_one_key_alone() -> None:
    (b,) = inventory.call("h", 1, only="b")
    assert (b["key"], b["total"]) == ("b", 1)
    assert inventory.call("h", 1, only="c") == []


@pytest.mark.usefixtures("tracker")
def test_a_board_that_does_not_answer_says_why_and_the_next_is_asked() -> None:
    gone = WorkerDied("no handshake")
    FakeChild.answers = [fails(gone, "10.0.0.1:9090"), facts("10.0.0.1:9091", cpu="x")]
    a, _ = inventory.call("h", 1)
    assert names(a)[0] == {"error": "no handshake"}
    assert names(a)[1]["cpu"] == "x"


@pytest.mark.usefixtures("tracker")
def test_where_another_client_was_quicker_no_more_are_asked() -> None:
    FakeChild.answers = [fails(MissingError("none became free"))]
    a, _ = inventory.call("h", 1)
    assert names(a) == [None, None]
    assert [child.closed for child in FakeChild.made] == [True]


@pytest.mark.usefixtures("tracker")
def test_sessions_are_closed_whatever_happens() -> None:
    FakeChild.answers = [facts("10.0.0.1:9090"), fails(KeyboardInterrupt())]  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        inventory.call("h", 1)
    assert [child.closed for child in FakeChild.made] == [True, True]
