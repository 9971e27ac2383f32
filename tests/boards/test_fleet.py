from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tvmkd.base.errors import MissingError
from tvmkd.boards import fleet as module
from tvmkd.boards.fleet import Process, local_fleet, running_fleet, start_server, start_tracker
from tvmkd.runtime.interpreters import Interpreter


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


@pytest.mark.rpc
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


@pytest.mark.rpc
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


@pytest.mark.rpc
def test_the_address_is_what_a_tuner_wants() -> None:
    with local_fleet(1, key="mine") as address:
        assert set(address) == {"host", "port", "key"}
        assert address["host"] == "127.0.0.1"
        assert address["key"] == "mine"


def test_a_server_that_does_not_start_says_why() -> None:
    code = "import sys; sys.exit('no room at the inn')"
    with pytest.raises(MissingError, match="no room at the inn"):
        Process([sys.executable, "-c", code]).wait_until_listening(timeout=20)


def test_the_end_of_a_process_is_the_end_of_what_it_started() -> None:
    """Also of what ignores SIGTERM, which a process inherits."""
    code = (
        "import json, signal, subprocess, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "print(json.dumps({'port': child.pid}), flush=True)\n"
        "time.sleep(600)"
    )
    process = Process([sys.executable, "-c", code])
    grandchild = process.wait_until_listening()
    assert process.alive()
    assert alive(grandchild)
    process.end()
    assert not process.alive()
    assert gone([grandchild])


def test_a_server_that_ends_by_itself_says_its_last_line() -> None:
    process = Process([sys.executable, "-c", "import sys; sys.exit('first\\nthe last words')"])
    with pytest.raises(MissingError, match="a local server has ended: the last words"):
        process.wait()
    process.end()


def test_again_is_the_same_command_and_environment() -> None:
    code = "import os; print('{\"port\": ' + os.environ['ANSWER'] + '}', flush=True)"
    first = Process([sys.executable, "-c", code], {"ANSWER": "42"})
    assert first.wait_until_listening() == 42
    first.end()
    second = first.again()
    assert second.wait_until_listening() == second.port == 42
    assert second.pid != first.pid
    second.end()


class FakeProcess:
    """Stands for a server's process."""

    made: list[FakeProcess]

    def __init__(self, argv: list[str], env: dict[str, str] | None = None) -> None:
        self.argv, self.env, self.did = argv, env or {}, []  # type: ignore[var-annotated]
        self.made.append(self)

    def wait_until_listening(self) -> int:
        self.did.append("waited")
        return 9190

    def end(self) -> None:
        self.did.append("ended")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeProcess]:
    FakeProcess.made = []
    monkeypatch.setattr(module, "Process", FakeProcess)
    return FakeProcess.made


def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on by each pause."""
    pauses: list[float] = []
    fake = SimpleNamespace(monotonic=lambda: sum(pauses), sleep=pauses.append)
    monkeypatch.setattr(module, "time", fake)
    return pauses


def test_a_fleet_is_there_once_its_boards_are_registered(
    made: list[FakeProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses, asked = clock(monkeypatch), []

    def boards(host: str, port: int) -> list[int]:
        asked.append((host, port))
        return list(range(len(asked) - 1))  # one more each time

    monkeypatch.setattr(module, "boards", boards)
    with running_fleet(3, key="mine", threads=2) as fleet:
        assert asked == [("127.0.0.1", 9190)] * 4
        assert len(pauses) == 3
        assert len(fleet.servers) == 3
        assert all(process.did == ["waited"] for process in made)
        assert [each.env["TVM_NUM_THREADS"] for each in made[1:]] == ["2"] * 3
    assert all(process.did == ["waited", "ended"] for process in made)


def test_boards_that_never_register_are_an_error(
    made: list[FakeProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = clock(monkeypatch)
    monkeypatch.setattr(module, "boards", lambda host, port: [1])
    with pytest.raises(MissingError, match="did not register"), running_fleet(2):
        pass
    assert sum(pauses) == pytest.approx(60, abs=0.11)
    assert all(process.did[-1] == "ended" for process in made)


def test_a_server_is_started_with_what_it_is_given(made: list[FakeProcess]) -> None:
    runs = Interpreter("relay", "/opt/python", "for the test")
    start_server(
        "10.0.0.1:9190",
        "k",
        host="10.0.0.2",
        port=9091,
        threads=3,
        delay=0.5,
        memory=256,
        allow=("10.0.0.0/8", "192.168.1.7"),
        root="/planted",
        runs=runs,
    )
    (process,) = made
    assert process.argv[:3] == ["/opt/python", "-m", "tvmkd.boards.server"]
    options = dict(zip(process.argv[3:-1:2], process.argv[4::2], strict=True))
    assert options == {
        "--host": "10.0.0.2",
        "--port": "9091",
        "--delay": "0.5",
        "--session-memory": "256",
        "--allow": "192.168.1.7",
        "--tracker": "10.0.0.1:9190",
        "--key": "k",
    }
    assert process.argv.count("--allow") == 2
    assert process.argv[-1] == "--die-with-parent"
    assert process.env["TVM_NUM_THREADS"] == "3"
    assert process.env["TVMKD_BOARD_ROOT"] == "/planted"
    assert runs.environment().items() <= process.env.items()


def test_what_a_server_is_not_given_it_decides_itself(made: list[FakeProcess]) -> None:
    start_server("h:1", "k")
    (process,) = made
    assert process.argv[0] == sys.executable
    assert process.argv[3:7] == ["--host", "127.0.0.1", "--port", "0"]
    assert not {"--delay", "--session-memory", "--allow"} & set(process.argv)
    assert not {"TVM_NUM_THREADS", "TVMKD_BOARD_ROOT"} & set(process.env)


def test_a_tracker_ends_with_its_parent(made: list[FakeProcess]) -> None:
    start_tracker("10.0.0.1", 9)
    (process,) = made
    command = [sys.executable, "-m", "tvmkd.boards.tracker"]
    assert process.argv == [*command, "--host", "10.0.0.1", "--port", "9", "--die-with-parent"]
