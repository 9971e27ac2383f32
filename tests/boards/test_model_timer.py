"""What is sent to the process that times models, and what becomes of its failures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tvmkd.base import wire
from tvmkd.base.errors import InputError, MissingError, TvmkdError, WorkerDied, WorkerTimeout
from tvmkd.boards import model_timer
from tvmkd.boards.model_timer import ModelTimer
from tvmkd.runtime import interpreters

TRACKER = {"host": "boards", "port": 9190, "key": "nano"}


class Child:
    """The other process, which answers what it is told to."""

    made: list[Child]
    answers: dict[str, Any]

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        Child.made.append(self)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.closed = False

    def call(self, method: str, params: Any, *, timeout: float, on_event: Any = None) -> Any:
        self.calls.append((method, params))
        answer = Child.answers.get(method, {})
        if on_event is not None and Child.answers.get("named", True):
            on_event("named", {"board": "b:1"})
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self, grace: float) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def child(monkeypatch: pytest.MonkeyPatch) -> None:
    Child.made, Child.answers = [], {"connect": {"board": "b:1"}}
    found = SimpleNamespace(python="python", environment=dict)
    monkeypatch.setattr(interpreters, "find", lambda stack, given: found)
    monkeypatch.setattr(wire, "Child", Child)
    monkeypatch.setattr(model_timer, "check_match", lambda *_: None)


def test_one_process_serves_board_after_board() -> None:
    Child.answers |= {"time": {"seconds": [1.0, 2.0]}, "count": {"instructions": 7}}
    with ModelTimer("relax") as timer:
        for _ in range(2):
            assert timer.connect(TRACKER, {}) == "b:1"
            timer.load("model", Path("m.so"), "cpu", [{"name": "x", "shape": [1]}])
            assert timer.time("model", 0.5) == [1.0, 2.0]
            assert timer.count("model") == 7
            timer.release()
    (made,) = Child.made
    assert [method for method, _ in made.calls] == 2 * [
        "connect", "load", "time", "count", "release",
    ]  # fmt: skip
    assert made.calls[1][1] == {
        "name": "model",
        "library": "m.so",
        "device": "cpu",
        "stack": "relax",
        "inputs": [{"name": "x", "shape": [1]}],
    }
    assert made.closed


@pytest.mark.parametrize(("named", "said"), [(True, "the board at b:1 fails"), (False, "no board")])
def test_a_board_that_does_not_answer(named: bool, said: str) -> None:
    Child.answers |= {"connect": WorkerTimeout("slow"), "named": named}
    timer = ModelTimer()
    with pytest.raises(MissingError, match=said):
        timer.connect(TRACKER, {})
    assert Child.made[0].closed


def test_a_board_that_does_not_fit_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise InputError("another CPU")

    monkeypatch.setattr(model_timer, "check_match", refuse)
    with pytest.raises(InputError, match="another CPU"):
        ModelTimer().connect(TRACKER, {})
    assert Child.made[0].closed


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (WorkerDied("it crashed"), r"the board at b:1 was lost \(it crashed\)"),
        (WorkerTimeout("no answer"), r"the board at b:1 was lost \(no answer\)"),
        (MissingError("it does not count"), "it does not count"),
    ],
)
def test_a_board_that_is_lost_is_connected_again(failure: TvmkdError, said: str) -> None:
    timer = ModelTimer()
    timer.connect(TRACKER, {})
    Child.answers["time"] = failure
    with pytest.raises(MissingError, match=said):
        timer.time("model", 1.0)
    assert Child.made[0].closed
    with pytest.raises(MissingError, match="no board is connected"):
        timer.time("model", 1.0)
    timer.connect(TRACKER, {})
    assert len(Child.made) == 2


def test_nothing_to_release() -> None:
    ModelTimer().release()
    assert Child.made == []
