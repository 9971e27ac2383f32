"""The board's server against a plain client: sessions that end, hang, and overrun."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tvmkd.boards.connect import boards
from tvmkd.boards.fleet import Fleet, running_fleet

pytestmark = pytest.mark.rpc

CLIENT = """
import sys, time
from tvmkd.boards.connect import request
from tvmkd.runtime.tvm_process import import_runtime
tvm = import_runtime()
host, port, key, timeout, what = sys.argv[1:]
session = tvm.rpc.connect(*request(host, int(port), key, 10), session_timeout=float(timeout))
if what == "threads":
    print(session.get_function("runtime.NumThreads")())
    print(session.get_function("tvmkd.board.facts")())
    session.upload(bytearray(b"abc"), "deep")
    print(bytes(session.download("deep")))
elif what == "overrun":
    time.sleep(float(timeout) + 1)
    try:
        session.get_function("runtime.NumThreads")()
        print("still there")
    except Exception as error:
        print("ended:", str(error).strip().splitlines()[-1])
elif what == "stay":
    session.upload(bytearray(b"abc"), "deep")
    print("here", flush=True)
    time.sleep(60)
elif what == "vanish":
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with running_fleet(1, key="one", threads=1) as running:
        yield running


def client(fleet: Fleet, what: str, timeout: float = 0) -> str:
    argv = [fleet.host, str(fleet.port), fleet.key, str(timeout), what]
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, *argv], capture_output=True, text=True, timeout=60
    )
    assert what == "vanish" or done.returncode == 0, done.stderr
    return done.stdout


def free_again(fleet: Fleet, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if boards(fleet.host, fleet.port)[0]["free"] == 1:
            return True
        time.sleep(0.05)
    return False


def test_a_session_answers_and_frees_the_board(fleet: Fleet) -> None:
    threads, facts, data = client(fleet, "threads").splitlines()
    assert threads == "1"
    assert '"tvm_num_threads": 1' in facts
    assert data == "b'abc'"
    assert free_again(fleet, 5)


def test_a_session_that_overruns_is_ended(fleet: Fleet) -> None:
    assert client(fleet, "overrun", timeout=1).startswith("ended:")
    assert free_again(fleet, 5)


def test_a_client_that_vanishes_frees_the_board(fleet: Fleet) -> None:
    client(fleet, "vanish")
    assert free_again(fleet, 5)


def test_an_ended_server_takes_its_session_and_folder_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with running_fleet(1, key="brief") as fleet:
        argv = [fleet.host, str(fleet.port), fleet.key, "0", "stay"]
        with subprocess.Popen(
            [sys.executable, "-c", CLIENT, *argv], stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"here\n"
            assert list(tmp_path.glob("tvmkd-session-*"))
            fleet.servers[0].end()
            assert not list(tmp_path.glob("tvmkd-session-*"))
            other.kill()
