"""``tvmkd tracker``: as a user starts it, and its rules with fakes of the tracker and of ssh."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from serving import Server, end

from tvmkd.boards import fleet as fleets
from tvmkd.boards import tunnel
from tvmkd.boards.fleet import Fleet


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command starts and opens, in order; the tracker listens at port 4321."""
    found: list[Any] = []

    def start(host: str, port: int) -> Server:
        found.append((host, port))
        running = Server(4321)
        found.append(running)
        return running

    @contextlib.contextmanager
    def to_board(board: str, port: int) -> Iterator[None]:
        found.append((board, port))
        try:
            yield
        finally:
            found.append(f"{board} closed")

    monkeypatch.setattr(fleets, "start_tracker", start)
    monkeypatch.setattr(tunnel, "to_board", to_board)
    return found


def test_it_listens_on_this_machine_alone_by_default(tvmkd: Any, started: list[Any]) -> None:
    done = tvmkd("tracker")
    assert (done.code, done.err) == (0, "")
    assert done.out == "tracker at 127.0.0.1:4321: only this machine can reach it\n"
    assert started[0] == ("127.0.0.1", 9190)
    assert started[1].ended


def test_each_board_gets_a_tunnel_to_the_port_that_it_listens_at(
    tvmkd: Any, started: list[Any]
) -> None:
    done = tvmkd("tracker", "--port", "0", "--ssh", "me@nano", "--ssh", "me@nano2:9091")
    asked, server, *tunnels = started
    assert asked == ("127.0.0.1", 0)
    assert tunnels[:2] == [("me@nano", 4321), ("me@nano2:9091", 4321)]
    assert tunnels[2:] == ["me@nano2:9091 closed", "me@nano closed"]
    assert server.ended
    assert [line.split(":")[0] for line in done.out.splitlines()[1:]] == [
        "tunnel to me@nano",
        "tunnel to me@nano2",
    ]


def test_json_is_one_line(tvmkd: Any, started: list[Any]) -> None:
    done = tvmkd("tracker", "--ssh", "me@nano", "--json")
    assert json.loads(done.out) == {"host": "127.0.0.1", "port": 4321}
    assert done.out.count("\n") == 1


@pytest.mark.parametrize("argv", [["--ssh", "me@nano", "--ssh", "nano:x"], ["--port", "65536"]])
def test_a_wrong_option_starts_nothing(tvmkd: Any, started: list[Any], argv: list[str]) -> None:
    assert tvmkd("tracker", *argv).code == 2
    assert started == []


def test_a_name_that_does_not_resolve_starts_nothing(tvmkd: Any, started: list[Any]) -> None:
    done = tvmkd("tracker", "--host", "no-such-host.invalid")
    assert (done.code, "no-such-host.invalid" in done.line) == (2, True)
    assert started == []


@pytest.mark.rpc
def test_what_reaches_beyond_this_machine_is_warned_of() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tvmkd", "tracker", "--host", "0.0.0.0", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "EVERY machine on every network" in process.stdout.readline()
    assert "no authentication" in " ".join(end(process).split())


@pytest.mark.rpc
def test_a_port_that_is_taken_is_one_line(tvmkd: Any, fleet: Fleet) -> None:
    done = tvmkd("tracker", "--port", fleet.port)
    assert done.code == 5
    assert f"cannot listen at 127.0.0.1:{fleet.port}: Address already in use" in done.line
