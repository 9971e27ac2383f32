"""``tvmkd board emulate``: with emulated boards where there is QEMU, else a fake fleet."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import board_client
import pytest
from serving import start

from tvmkd import targets
from tvmkd.base.errors import MissingError
from tvmkd.boards import emulate
from tvmkd.boards.connect import boards


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The fleets that the command starts and ends; Ctrl-C comes once the boards are served."""
    found: list[Any] = []

    @contextlib.contextmanager
    def running(target: targets.Target, count: int, key: str, **options: Any) -> Iterator[Any]:
        found.append((target.name, count, key, options))
        servers = [SimpleNamespace(port=5000 + number) for number in range(count)]
        try:
            yield SimpleNamespace(host="127.0.0.1", port=4321, servers=servers)
        finally:
            found.append("ended")

    def keep_alive(fleet: Any, tell: Any) -> None:
        found.append(f"served {len(fleet.servers)}")
        tell("a board has died")
        raise KeyboardInterrupt

    monkeypatch.setattr(emulate, "running_emulated_fleet", running)
    monkeypatch.setattr(emulate, "keep_alive", keep_alive)
    return found


def test_one_nano_at_a_tracker_of_its_own_by_default(tvmkd: Any, started: list[Any]) -> None:
    done = tvmkd("board", "emulate")
    assert done.code == 0
    assert started == [
        ("jetson-nano", 1, "emulated", {"icount": False, "tracker": None}),
        "served 1",
        "ended",
    ]
    where, tune, _ = done.out.splitlines()
    assert where == "1 emulated jetson-nano under the key 'emulated', ports [5000]"
    assert "--target jetson-nano --rpc-tracker 127.0.0.1:4321 --rpc-key emulated" in tune
    assert "--evaluator" not in tune
    assert "a board has died" in done.err


def test_every_option_reaches_the_fleet(tvmkd: Any, started: list[Any]) -> None:
    argv = ["--target", "jetson-nano", "--count", "2", "--rpc-key", "n", "--icount"]
    done = tvmkd("board", "emulate", *argv, "--rpc-tracker", "10.0.0.1:9191")
    assert started[0] == ("jetson-nano", 2, "n", {"icount": True, "tracker": ("10.0.0.1", 9191)})
    assert done.out.splitlines()[1].endswith("--evaluator icount")


def test_json_is_one_line_with_every_port(tvmkd: Any, started: list[Any]) -> None:
    done = tvmkd("board", "emulate", "--count", "2", "--json")
    assert done.out.count("\n") == 1
    assert json.loads(done.out) == {
        "host": "127.0.0.1",
        "port": 4321,
        "key": "emulated",
        "boards": [5000, 5001],
    }


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["--count", "0"], 2, "'--count'"),
        (["--rpc-tracker", "host:port"], 2, "'--rpc-tracker'"),
        (["--target", "jetson-nanno"], 4, 'did you mean "jetson-nano"?'),
    ],
)
def test_a_wrong_option_starts_nothing(
    tvmkd: Any, started: list[Any], argv: list[str], code: int, said: str
) -> None:
    done = tvmkd("board", "emulate", *argv)
    assert (done.code, said in done.err) == (code, True), done.err
    assert started == []


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.board
@pytest.mark.rpc
@pytest.mark.skipif(emulate.why_not() is not None, reason=str(emulate.why_not()))
def test_the_command_keeps_boards_alive_and_leaves_none(tmp_path: Path) -> None:
    process, ready = start("board", "emulate", "--count", "2", "--rpc-key", "n")
    assert process.stderr is not None
    try:
        assert (ready["key"], len(ready["boards"])) == ("n", 2)
        pids = [int(pid) for pid in children(process.pid) if "tvmkd-board" in command(int(pid))]
        assert len(pids) == 2
        os.kill(pids[0], signal.SIGKILL)
        lines = iter(process.stderr.readline, "")
        assert any("has died and is started again" in line for line in lines)
        kernels = board_client.library(tmp_path, "aarch64-linux-gnu.2.27")
        fleet = emulate.Fleet(ready["host"], ready["port"], "n", None)
        assert board_client.ask(fleet, kernels, "twice:8")[-1] == "16"
        left = children(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert not any("tvmkd-board" in command(int(pid)) for pid in left)
    with pytest.raises(MissingError):
        boards(ready["host"], ready["port"])
