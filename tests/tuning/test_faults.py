"""What goes wrong with boards, trackers and tuners: nothing is lost, nothing is measured twice."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_kernels
from grounds import Ground, faults

from tvmkd.boards.connect import boards, check
from tvmkd.boards.fleet import Fleet, running_fleet, start_server, start_tracker
from tvmkd.tuning import records

pytestmark = pytest.mark.rpc
TRIALS = 20
KILLS = {"relax": 4, "relay": 2}

# What a session guarantees does not depend on the stack; where it might, a test runs on both.
on_relax = pytest.mark.parametrize("ground", ["relax"], indirect=True)


@pytest.fixture
def pair(ground: Ground) -> Iterator[Fleet]:
    with ground.pair() as running:
        yield running


def trials(folder: Path) -> list[dict[str, Any]]:
    return records.read_lines(folder / records.TRIALS)


def assert_sound(folder: Path, count: int) -> None:
    """``count`` trials, none twice, no fault, and the native records are the good ones."""
    lines = trials(folder)
    keys = {(line["task"], line["key"]) for line in lines}
    assert len(lines) == len(keys) == count
    assert faults(Counter(line["status"] for line in lines)).keys() == {"ok"}
    good = {(line["task"], line["key"]) for line in lines if line["status"] == "ok"}
    stored = [(record.task, record.key) for record in records.load(folder)]
    assert Counter(stored) == Counter(good)


def after_trials(process: subprocess.Popen[bytes], count: int, act: Callable[[], None]) -> Any:
    """Calls ``act`` once ``count`` trials are made, and returns the last event."""
    assert process.stdout is not None
    seen, last = 0, None
    for line in process.stdout:
        last = json.loads(line)
        seen += last[0] == "trial"
        if seen == count and last[0] == "trial":
            act()
    assert last is not None, process.communicate()[1]
    process.communicate()
    return last


def finished(last: Any) -> dict[str, Any]:
    assert last[0] == "result", last
    result: dict[str, Any] = last[1]
    return result


@on_relax
def test_both_boards_work_and_one_that_is_killed_leaves_the_other(
    pair: Fleet, ground: Ground, tmp_path: Path
) -> None:
    process = ground.start(tmp_path, pair, trials=24, options={"batch": 4})
    victim = pair.servers[0]
    last = after_trials(process, 8, lambda: os.killpg(victim.pid, signal.SIGKILL))
    assert faults(finished(last)["errors"]) == {}
    assert_sound(tmp_path, 24)
    by_board = Counter(line["board"] for line in trials(tmp_path))
    assert set(by_board) == {f"127.0.0.1:{server.port}" for server in pair.servers}
    assert by_board[f"127.0.0.1:{pair.servers[1].port}"] > 12


def test_a_board_that_comes_later_gets_work(tmp_path: Path) -> None:
    with running_fleet(1, key="pair", threads=1) as fleet:

        def another() -> None:
            fleet.servers.append(start_server(f"{fleet.host}:{fleet.port}", "pair", threads=1))
            fleet.servers[-1].wait_until_listening()

        settings: dict[str, Any] = {"trials": 40, "tasks": ["matmul:64", "matmul:96"]}
        process = tiny_kernels.start(tmp_path, fleet.address(), options={"batch": 2}, **settings)
        assert finished(after_trials(process, 2, another))["errors"] == {}
        assert_sound(tmp_path, 40)
        assert len({line["board"] for line in trials(tmp_path)}) == 2
    info = json.loads((tmp_path / records.SIDECAR).read_text())
    assert len(info["boards"]) == 2


@on_relax
def test_a_frozen_board_is_nobodys_error(pair: Fleet, ground: Ground, tmp_path: Path) -> None:
    settings = {"trials": 10, "options": {"batch": 4, "run_timeout": 3.0}}
    process = ground.start(tmp_path, pair, **settings)
    frozen = pair.servers[0]
    try:
        last = after_trials(process, 4, lambda: os.killpg(frozen.pid, signal.SIGSTOP))
    finally:
        os.killpg(frozen.pid, signal.SIGCONT)
    assert faults(finished(last)["errors"]) == {}
    assert_sound(tmp_path, 10)


@on_relax
def test_a_tracker_that_is_killed_and_comes_back_is_found_again(
    pair: Fleet, ground: Ground, tmp_path: Path
) -> None:
    def restart() -> None:
        os.killpg(pair.tracker.pid, signal.SIGKILL)
        pair.tracker.end()
        pair.tracker = start_tracker(port=pair.port)
        pair.tracker.wait_until_listening()

    process = ground.start(tmp_path, pair, trials=16, options={"batch": 4})
    assert faults(finished(after_trials(process, 4, restart))["errors"]) == {}
    assert_sound(tmp_path, 16)
    assert len(check(pair.host, pair.port, "pair", timeout=30)) >= 1


@on_relax
def test_two_tuners_take_turns_on_one_board(ground: Ground, tmp_path: Path) -> None:
    processes = [
        ground.start(tmp_path / name, trials=6, options={"batch": 3})
        for name in ("first", "second")
    ]
    for process in processes:
        assert faults(finished(tiny_kernels.events(process)[-1])["errors"]) == {}
    assert_sound(tmp_path / "first", 6)
    assert_sound(tmp_path / "second", 6)


def test_a_kernel_that_fills_memory_is_a_counted_error(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"tasks": ["fill:4096", "matmul:32"], "trials": 4}
    with running_fleet(1, key="small", threads=1, memory=1024) as fleet:
        result = tiny_kernels.tune(tmp_path, fleet.address(), **settings)
        assert len(boards(fleet.host, fleet.port)) == 1
    assert result["errors"] == {"run_crash": 1}


@pytest.mark.skipif(shutil.which("faketime") is None, reason="apt-get install faketime")
def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = subprocess.run(
        ["faketime", "-m", "now", "printenv", "LD_PRELOAD"], capture_output=True, text=True
    )
    clock = tmp_path / "clock"
    clock.write_text("+0")
    monkeypatch.setenv("LD_PRELOAD", found.stdout.strip())
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(clock))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    with running_fleet(1, key="jumpy", threads=1) as fleet:
        process = tiny_kernels.start(tmp_path / "r", fleet.address(), trials=16)
        jumps = iter(["+3600", "-7200", "+100000"])
        assert process.stdout is not None
        last = None
        for line in process.stdout:
            last = json.loads(line)
            if last[0] == "trial" and last[1]["trials_done"] % 4 == 0:
                clock.write_text(next(jumps, "+0"))
        process.communicate()
    monkeypatch.undo()
    assert last is not None
    assert finished(last)["errors"] == {}
    assert_sound(tmp_path / "r", 16)
    lines = trials(tmp_path / "r")
    assert all(0 < value < 1 for line in lines for value in line["seconds"])
    stamps = [line["t"] for line in lines]
    assert max(stamps) - min(stamps) > 3600, "the clock did jump"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_tuner_killed_again_and_again_makes_every_trial_once(
    tmp_path: Path, ground: Ground
) -> None:
    settings: dict[str, Any] = {
        "tasks": ["matmul:32", "matmul:48"],
        "trials": TRIALS,
        "seed": 7,
        "options": {"batch": 3, "workers": 1},
    }
    chance = random.Random(20)
    folder = tmp_path / "killed"
    for _ in range(KILLS[ground.stack]):
        process = ground.start(folder, **settings)
        assert process.stdout is not None
        wanted = chance.choice(["started", "tasks", "trial", "trial", "trial"])
        for line in process.stdout:
            if json.loads(line)[0] == wanted:
                break
        time.sleep(chance.uniform(0.0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = ground.tune(folder, **settings)
    assert last["trials"] == TRIALS
    assert_sound(folder, TRIALS)
    for path in (*records.native(folder), folder / records.TRIALS):
        assert all(json.loads(line) for line in path.read_text().splitlines())
