"""``tvmkd board serve``: as a user starts it, and its rules with a fake of the server."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from serving import Server, end, start

from tvmkd.base.errors import MissingError
from tvmkd.boards import connect
from tvmkd.boards import fleet as fleets
from tvmkd.boards.connect import boards
from tvmkd.runtime import interpreters


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command asks and starts, in order; the board listens at port 9876."""
    for name in ("TVM_TRACKER_HOST", "TVM_TRACKER_PORT", "TVM_TRACKER_KEY"):
        monkeypatch.delenv(name, raising=False)
    found: list[Any] = []

    def server(tracker: str, key: str, **options: Any) -> Server:
        found.append((tracker, key, options))
        running = Server(9876)
        found.append(running)
        return running

    monkeypatch.setattr(interpreters, "find", lambda *given: ("interpreter", *given))
    monkeypatch.setattr(connect, "summary", lambda *where: found.append(where) or {})
    monkeypatch.setattr(fleets, "start_server", server)
    return found


AT = ["--rpc-tracker", "10.0.0.1:9191", "--rpc-key", "nano"]


def test_every_option_reaches_the_server(tvmkd: Any, started: list[Any]) -> None:
    argv = ["--host", "0.0.0.0", "--port", "0", "--threads", "3", "--allow", "10.0.0.0/8"]
    argv += ["--allow", "192.168.1.7", "--stack", "relay", "--stack-python", "/p"]
    done = tvmkd("board", "serve", *AT, *argv)
    asked, (tracker, key, options), server = started
    assert asked == ("10.0.0.1", 9191)
    assert (tracker, key) == ("10.0.0.1:9191", "nano")
    assert options == {
        "host": "0.0.0.0",
        "port": 0,
        "threads": 3,
        "allow": ("10.0.0.0/8", "192.168.1.7"),
        "runs": ("interpreter", "relay", Path("/p")),
    }
    assert done.code == 0
    assert done.out == (
        "board at 0.0.0.0:9876 under the key 'nano' of 10.0.0.1:9191: "
        "this machine and 10.0.0.0/8, 192.168.1.7 can reach it\n"
    )
    assert "no authentication" not in done.err, "--allow keeps others out"
    assert server.ended


def test_the_defaults_are_tvm_s(
    tvmkd: Any, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TVM_TRACKER_HOST", "10.0.0.2")
    monkeypatch.setenv("TVM_TRACKER_KEY", "mine")
    done = tvmkd("board", "serve", "--json")
    _, (tracker, key, options), _ = started
    assert (tracker, key) == ("10.0.0.2:9190", "mine")
    assert (options["host"], options["port"], options["threads"]) == ("127.0.0.1", 9090, None)
    assert options["runs"] == ("interpreter", "relax", None)
    assert json.loads(done.out) == {"host": "127.0.0.1", "port": 9876, "key": "mine"}
    assert done.err == ""


def test_an_open_port_is_warned_of(tvmkd: Any, started: list[Any]) -> None:
    done = tvmkd("board", "serve", *AT, "--host", "0.0.0.0")
    assert "TVM RPC has no authentication" in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--rpc-tracker", "h"], "give --rpc-tracker and --rpc-key"),
        (["--rpc-key", "k"], "give --rpc-tracker and --rpc-key"),
        (["--rpc-tracker", "local", "--rpc-key", "k"], "give --rpc-tracker and --rpc-key"),
        ([*AT, "--allow", "home"], "--allow home"),
        ([*AT, "--threads", "0"], "'--threads'"),
        ([*AT, "--stack", "both"], "'--stack'"),
    ],
)
def test_wrong_usage_starts_nothing(
    tvmkd: Any, started: list[Any], argv: list[str], said: str
) -> None:
    done = tvmkd("board", "serve", *argv)
    assert (done.code, said in done.err) == (2, True), done.err
    assert started == []


def test_no_tracker_there_is_said_before_a_server_starts(
    tvmkd: Any, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def summary(host: str, port: int) -> None:
        raise MissingError(f"no tracker at {host}:{port}")

    monkeypatch.setattr(connect, "summary", summary)
    done = tvmkd("board", "serve", *AT)
    assert (done.code, done.line) == (5, "no tracker at 10.0.0.1:9191")
    assert started == []


@pytest.mark.rpc
def test_a_tracker_and_a_board_serve_until_they_are_ended(tvmkd: Any) -> None:
    tracker, at = start("tracker", "--port", "0")
    address = f"{at['host']}:{at['port']}"
    options = ["--rpc-tracker", address, "--rpc-key", "mine", "--port", "0", "--threads", "1"]
    board, served = start("board", "serve", *options)
    try:
        deadline = time.monotonic() + 30
        while not any(each["free"] for each in boards(at["host"], at["port"])):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        done = tvmkd("board", "list", "--rpc-tracker", address, "--json")
        (key,) = json.loads(done.out)["keys"]
        assert (key["key"], key["free"], key["total"], key["waiting"]) == ("mine", 1, 1, 0)
        assert key["boards"][0]["port"] == served["port"]
        assert key["boards"][0]["facts"]["tvm_num_threads"] == 1
    finally:
        assert "Traceback" not in end(board, signal.SIGINT)
        assert "Traceback" not in end(tracker)
    done = tvmkd("board", "list", "--rpc-tracker", address)
    assert (done.code, f"start one with: tvmkd tracker --host {at['host']}" in done.line) == (
        5,
        True,
    )
