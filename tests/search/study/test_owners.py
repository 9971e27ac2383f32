from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from tvmkd.search.study import owners


def child() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def owner_of(pid: int) -> dict[str, Any]:
    return {**owners.this_process().to_dict(), "pid": pid, "started": owners._started(pid)}


def test_a_process_is_alive_until_it_ends() -> None:
    with child() as process:
        owner = owner_of(process.pid)
        assert owners.alive(owner) is True
        process.kill()
        deadline = time.monotonic() + 10
        while owners.alive(owner) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert owners.alive(owner) is False, "a process that nobody has waited for is dead"
    assert owners.alive(owner) is False


def test_a_number_that_was_given_again_is_another_process() -> None:
    here = owners.this_process().to_dict()
    assert owners.alive(here) is True
    assert owners.alive({**here, "started": "1"}) is False


def test_nothing_is_known_of_processes_elsewhere() -> None:
    here = owners.this_process().to_dict()
    for key in ("host", "boot", "space"):
        assert owners.alive({**here, key: "another"}) is None
    for other in (None, {}, {"pid": 1}, "text"):
        assert owners.alive(other) is None


def test_a_process_elsewhere_is_silent_after_a_while_of_listening() -> None:
    now = 0.0
    listener = owners.Listener(lambda: now)
    assert not listener.silent(1, None)
    now = owners.SILENT_SECONDS + 1
    assert listener.silent(1, None)
    assert not listener.silent(1, 7), "it has changed"
    assert not listener.silent(2, 7), "it is heard for the first time"
    now += owners.NAMELESS_SECONDS + 1
    assert not listener.silent(1, 7)
    assert listener.silent(1, 7, owners.NAMELESS_SECONDS)


def test_a_heartbeat_counts_and_ends_with_its_block() -> None:
    heard: list[int] = []

    def beat(number: int) -> None:
        heard.append(number)
        if number == 2:
            raise OSError("the storage is away")

    with owners.beating(beat, 0.005):
        deadline = time.monotonic() + 10
        while len(heard) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)
    count = len(heard)
    time.sleep(0.03)
    assert heard == list(range(1, count + 1))
    assert count >= 4
