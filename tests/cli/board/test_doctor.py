"""``tvmkd board doctor``: with a real board, and its rules with fakes of what it asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tvmkd import targets
from tvmkd.base.checks import Check
from tvmkd.base.errors import MissingError
from tvmkd.boards import connect, examine, inventory
from tvmkd.boards.fleet import Fleet

AT = ["--rpc-tracker", "10.0.0.1:9191", "--rpc-key", "nano", "--target", "jetson-nano"]
FREE = {"host": "10.0.0.7", "port": 9090, "facts": {"board": "10.0.0.7:9090", "celsius": 40.0}}
BUSY = {"host": "10.0.0.8", "port": 9090}
DEAD = {"host": "10.0.0.9", "port": 9090, "facts": {"error": "no answer"}}


class Boards:
    """What the inventory finds, what the checks say, and the calls."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = [FREE]
        self.checks = [Check("fit", "ok", "a Nano")]
        self.trial = [Check("kernel", "ok", "right")]
        self.calls: list[Any] = []

    def inventory(self, host: str, port: int, *, only: str) -> list[dict[str, Any]]:
        self.calls.append(("inventory", host, port, only))
        return [{"key": only, "boards": self.found}]

    def examine(self, target: targets.Target, facts: dict[str, Any]) -> Iterator[Check]:
        self.calls.append(("examine", target.name, facts))
        yield from self.checks

    def run_kernel(self, target: targets.Target, address: dict[str, Any]) -> Iterator[Check]:
        self.calls.append(("trial", target.name, address))
        yield from self.trial


@pytest.fixture
def boards(monkeypatch: pytest.MonkeyPatch) -> Boards:
    made = Boards()
    for name in ("TVM_TRACKER_HOST", "TVM_TRACKER_PORT", "TVM_TRACKER_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(connect, "check", lambda *given: made.calls.append(("check", *given)))
    monkeypatch.setattr(inventory, "call", made.inventory)
    monkeypatch.setattr(examine, "examine", made.examine)
    monkeypatch.setattr(examine, "trial", made.run_kernel)
    return made


def test_a_free_board_is_examined_and_runs_a_kernel(tvmkd: Any, boards: Boards) -> None:
    done = tvmkd("board", "doctor", *AT)
    assert done.code == 0
    assert done.out.splitlines() == [
        "10.0.0.7:9090",
        "  ok    fit           a Nano",
        "a free board",
        "  ok    kernel        right",
    ]
    assert boards.calls == [
        ("check", "10.0.0.1", 9191, "nano"),
        ("inventory", "10.0.0.1", 9191, "nano"),
        ("examine", "jetson-nano", FREE["facts"]),
        ("trial", "jetson-nano", {"host": "10.0.0.1", "port": 9191, "key": "nano"}),
    ]


def test_a_busy_board_is_a_warning_and_runs_nothing(tvmkd: Any, boards: Boards) -> None:
    boards.found = [BUSY]
    done = tvmkd("board", "doctor", *AT, "--json")
    assert done.code == 0
    (check,) = json.loads(done.out)["boards"]["10.0.0.8:9090"]
    assert (check["name"], check["status"]) == ("session", "warn")
    assert [name for name, *_ in boards.calls] == ["check", "inventory"]


def test_a_board_that_does_not_answer_is_a_failure_with_its_remedy(
    tvmkd: Any, boards: Boards
) -> None:
    boards.found = [FREE, DEAD]
    done = tvmkd("board", "doctor", *AT)
    assert done.code == 4
    lines = [line.split() for line in done.out.splitlines()]
    assert ["FAIL", "session", "no", "answer"] in lines
    assert any(line[-3:] == ["restart", "its", "server"] for line in lines)
    assert "trial" not in [name for name, *_ in boards.calls], "no kernel where a check failed"


@pytest.mark.parametrize(
    ("status", "code", "runs"), [("ok", 0, True), ("warn", 0, True), ("fail", 4, False)]
)
def test_only_a_failed_check_keeps_the_kernel_from_running(
    tvmkd: Any, boards: Boards, status: Any, code: int, runs: bool
) -> None:
    boards.checks = [Check("heat", status, "85 C"), Check("fit", "ok", "a Nano")]
    done = tvmkd("board", "doctor", *AT, "--json")
    assert done.code == code
    found = json.loads(done.out)
    assert found["ok"] is (code == 0)
    assert ("a free board" in found["boards"]) is runs


def test_a_wrong_kernel_is_a_failure(tvmkd: Any, boards: Boards) -> None:
    boards.trial = [Check("kernel", "fail", "WRONG", "unpack the bundle anew")]
    done = tvmkd("board", "doctor", *AT, "--json")
    assert (done.code, json.loads(done.out)["ok"]) == (4, False)
    assert json.loads(done.out)["boards"]["a free board"] == [
        {"name": "kernel", "status": "fail", "finding": "WRONG", "fix": "unpack the bundle anew"}
    ]


def test_the_key_and_the_tracker_of_the_environment(
    tvmkd: Any, boards: Boards, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = tvmkd("board", "doctor")
    assert (done.code, "give --rpc-key (or TVM_TRACKER_KEY)" in done.err) == (2, True)
    assert boards.calls == []
    monkeypatch.setenv("TVM_TRACKER_KEY", "mine")
    assert tvmkd("board", "doctor").code == 0
    assert boards.calls[0] == ("check", "127.0.0.1", 9190, "mine")


def test_no_board_under_the_key_is_one_line(
    tvmkd: Any, boards: Boards, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(host: str, port: int, key: str) -> None:
        raise MissingError(f"no board under {key}")

    monkeypatch.setattr(connect, "check", check)
    done = tvmkd("board", "doctor", *AT)
    assert (done.code, done.line) == (5, "no board under nano")


@pytest.mark.rpc
def test_a_board_is_checked_with_a_kernel_whose_answer_is_known(tvmkd: Any, fleet: Fleet) -> None:
    argv = ["--rpc-tracker", f"{fleet.host}:{fleet.port}", "--json"]
    done = tvmkd("board", "doctor", "--rpc-key", fleet.key, *argv)
    assert done.code == 0
    checks = {check["name"]: check for check in json.loads(done.out)["boards"]["a free board"]}
    assert checks["kernel"]["status"] == "ok"
    assert "a matrix product is right" in checks["kernel"]["finding"]
    assert set(checks) == {"kernel", "round trip", "timing noise"}
    done = tvmkd("board", "doctor", "--rpc-key", fleet.key, "--target", "jetson-nano", *argv)
    assert (done.code, json.loads(done.out)["ok"]) == (4, False)
    done = tvmkd("board", "doctor", "--rpc-key", "yours", *argv)
    assert (done.code, f"keys there: {fleet.key}" in done.line) == (5, True)
