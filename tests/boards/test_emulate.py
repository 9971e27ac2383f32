from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import board_client
import pytest

from tvmkd import targets
from tvmkd.base.errors import MissingError, UsageError
from tvmkd.boards import emulate
from tvmkd.boards.connect import boards

NANO = targets.load("jetson-nano")
pytestmark = [
    pytest.mark.board,
    pytest.mark.rpc,
    pytest.mark.skipif(emulate.why_not() is not None, reason=str(emulate.why_not())),
]


def test_instructions_repeat_over_sessions_and_grow_with_the_work(tmp_path: Path) -> None:
    if emulate.why_no_counts() is not None:
        pytest.skip(str(emulate.why_no_counts()))
    kernels = board_client.library(tmp_path, "aarch64-linux-gnu.2.27")
    with emulate.running_emulated_fleet(NANO, 1, "nano", icount=True) as fleet:
        counts = [
            [int(line) for line in board_client.ask(fleet, kernels, *calls)]
            for calls in [("count:loop:1000", "count:loop:2000")] * 3
        ]
    small, large = zip(*counts, strict=True)
    assert max(small) - min(small) <= 0.001 * max(small)
    assert max(large) - min(large) <= 0.001 * max(large)
    per_round = (large[0] - small[0]) / 1000
    assert 2 < per_round < 20, "a load, an addition, a store, a comparison and a jump"


def test_a_gpu_is_not_emulated() -> None:
    with pytest.raises(UsageError, match="an emulated board has no GPU"):
        emulate.start_board(targets.load("jetson-nano-gpu"), "127.0.0.1:1", "k")


def test_the_command_keeps_boards_alive_and_leaves_none(tmp_path: Path) -> None:
    argv = ["-m", "tvmkd", "board", "emulate", "--count", "2", "--rpc-key", "n", "--json"]
    process = subprocess.Popen(
        [sys.executable, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        ready = json.loads(process.stdout.readline())
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


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_what_cannot_be_emulated_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"only AArch64 boards are emulated.*tvmkd board serve"):
        emulate.start_board(targets.load("host"), "h:1", "k")
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(MissingError, match="sudo apt-get install qemu-user"):
        emulate.start_board(NANO, "h:1", "k")
