"""``tvmkd tracker``, ``board serve`` and ``board list``, as a user starts them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_nano
import pytest

from tvmkd.boards.connect import boards, request
from tvmkd.boards.fleet import Fleet, running_fleet

pytestmark = pytest.mark.rpc


def start(*argv: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """A command that serves until it is ended, and the JSON that it prints when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tvmkd", *argv, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return process, json.loads(line)


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> str:
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return err


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    root = str(fake_nano.plant(tmp_path / "root", celsius=47.0))
    with running_fleet(2, key="nano", root=root) as running:
        yield running


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


def test_a_list_tells_free_boards_from_busy_ones(tvmkd: Any, fleet: Fleet) -> None:
    address = f"{fleet.host}:{fleet.port}"
    lines = tvmkd("board", "list", "--rpc-tracker", address).out.splitlines()
    assert lines[0] == "nano: 2 free of 2, 0 waiting"
    assert all("NVIDIA Jetson Nano Developer Kit" in line and "47 °C" in line for line in lines[1:])
    request(fleet.host, fleet.port, "nano", timeout=10)  # takes one and does not come
    lines = tvmkd("board", "list", "--rpc-tracker", address, "--rpc-key", "nano").out.splitlines()
    assert lines[0] == "nano: 1 free of 2, 0 waiting"
    assert sum("busy, or not asked" in line for line in lines) == 1
    done = tvmkd("board", "list", "--rpc-tracker", address, "--rpc-key", "other")
    assert (done.code, "no board is registered" in done.out) == (0, True)


def test_what_reaches_beyond_this_machine_is_warned_of(tvmkd: Any) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tvmkd", "tracker", "--host", "0.0.0.0", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "EVERY machine on every network" in process.stdout.readline()
    assert "no authentication" in " ".join(end(process).split())


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["board", "serve", "--rpc-key", "k", "--rpc-tracker", "127.0.0.1:1"], 5, "no tracker at"),
        (
            ["board", "serve", "--rpc-key", "k", "--rpc-tracker", "h", "--allow", "home"],
            2,
            "--allow home",
        ),
        (["tracker", "--ssh", "nano:x"], 2, "give USER@HOST"),
        (["tracker", "--host", "no-such-host.invalid"], 2, "no-such-host.invalid"),
    ],
)
def test_bad_calls_are_one_line(tvmkd: Any, argv: list[str], code: int, said: str) -> None:
    done = tvmkd(*argv)
    assert (done.code, said in done.line) == (code, True), done.err


def test_a_port_that_is_taken_is_one_line(tvmkd: Any, fleet: Fleet) -> None:
    done = tvmkd("tracker", "--port", fleet.port)
    assert done.code == 5
    assert f"cannot listen at 127.0.0.1:{fleet.port}: Address already in use" in done.line
