from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tvmkd.base.errors import MissingError
from tvmkd.boards.fleet import Process, local_fleet, running_fleet

pytestmark = pytest.mark.rpc


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pids: list[int], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(alive(pid) for pid in pids)


def test_a_fleet_is_made_of_processes_without_torch_and_leaves_none() -> None:
    with running_fleet(1, threads=1) as fleet:
        pids = [fleet.tracker.pid, fleet.servers[0].pid]
        assert all(alive(pid) for pid in pids)
        for pid in pids:
            assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()
            assert os.getpgid(pid) == pid
        environment = Path(f"/proc/{pids[1]}/environ").read_bytes()
        assert b"TVM_NUM_THREADS=1\0" in environment
        port = fleet.port
    assert gone(pids)
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", port)) != 0


def test_a_fleet_ends_with_the_process_that_started_it() -> None:
    code = (
        "import sys; from tvmkd.boards.fleet import running_fleet\n"
        "with running_fleet(1) as fleet:\n"
        "    print(fleet.tracker.pid, fleet.servers[0].pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        pids = [int(text) for text in owner.stdout.readline().split()]
        assert all(alive(pid) for pid in pids)
        owner.send_signal(signal.SIGKILL)
    assert gone(pids)


def test_the_address_is_what_a_tuner_wants() -> None:
    with local_fleet(1, key="mine") as address:
        assert set(address) == {"host", "port", "key"}
        assert address["host"] == "127.0.0.1"
        assert address["key"] == "mine"


def test_a_server_that_does_not_start_says_why() -> None:
    code = "import sys; sys.exit('no room at the inn')"
    with pytest.raises(MissingError, match="no room at the inn"):
        Process([sys.executable, "-c", code]).wait_until_listening(timeout=20)
