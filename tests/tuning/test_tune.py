"""The loop end to end: tiny kernels, a real tracker and a real RPC server."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import tiny_kernels
from grounds import Ground, faults

from tvmkd.base.errors import UsageError
from tvmkd.boards.fleet import Fleet, running_fleet
from tvmkd.tuning import canary, records
from tvmkd.tuning.measurement import WRONG
from tvmkd.tuning.tune import tune_into

pytestmark = pytest.mark.rpc

# What a session guarantees does not depend on the stack; where it might, a test runs on both.
on_relax = pytest.mark.parametrize("ground", ["relax"], indirect=True)


def trials(folder: Path) -> list[dict[str, Any]]:
    return records.read_lines(folder / records.TRIALS)


def assert_sound(folder: Path, count: int) -> None:
    """``count`` trials, none twice, each success in the native records and the other way round."""
    lines = trials(folder)
    keys = [(line["task"], line["key"]) for line in lines]
    assert len(keys) == count
    assert len(set(keys)) == count
    good = {(line["task"], line["key"]) for line in lines if line["status"] == "ok"}
    assert {(record.task, record.key) for record in records.load(folder)} == good


def start_and_wait_for_trials(
    folder: Path, ground: Ground, count: int, fleet: Fleet | None = None, **settings: Any
) -> Any:
    process = ground.start(folder, fleet, **settings)
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        seen += json.loads(line)[0] == "trial"
        if seen == count:
            return process
    raise AssertionError(f"it ended after {seen} trials: {process.communicate()[1]}")


def left_behind(mark: str) -> list[str]:
    """Command lines of the living processes that a tuner with this mark has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if f"TVMKD_TEST_MARK={mark}".encode() in environment and "tiny_kernels" not in command:
            found.append(command)
    return found


def test_it_tunes_writes_everything_down_and_goes_on_where_it_was(
    tmp_path: Path, ground: Ground
) -> None:
    folder = tmp_path / "records"
    settings = {"tasks": ["matmul:32", "matmul:48"], "options": {"batch": 4}}
    first = ground.tune(folder, trials=5, **settings)
    assert first["fresh"] == 5
    assert faults(first["errors"]) == {}
    assert all(task["best_us"] > 0 for task in first["tasks"])
    assert first["end_to_end_us"] == pytest.approx(sum(t["best_us"] for t in first["tasks"]))
    assert_sound(folder, 5)
    second = ground.tune(folder, trials=8, **settings)
    assert second["trials"] == 8
    assert second["fresh"] == 3
    assert_sound(folder, 8)
    info = json.loads((folder / records.SIDECAR).read_text())
    assert [task["name"] for task in info["tasks"]] == settings["tasks"]
    assert info["boards"][0]["threads"] == 1
    assert info["boards"][0]["tvm_num_threads"] == 1


@pytest.mark.parametrize(
    ("ground", "number"),
    [("relax", signal.SIGINT)],
    indirect=["ground"],
)
def test_a_signal_loses_at_most_the_trials_in_flight(
    tmp_path: Path, ground: Ground, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = f"{os.getpid()}-{number}"
    monkeypatch.setenv("TVMKD_TEST_MARK", mark)
    process = start_and_wait_for_trials(
        tmp_path, ground, 5, trials=30, options={"batch": 4, "workers": 1}
    )
    monkeypatch.delenv("TVMKD_TEST_MARK")
    assert len(left_behind(mark)) >= 2  # the forkserver and the process with the session
    process.send_signal(number)
    process.communicate(timeout=60)
    assert len(trials(tmp_path)) >= 5
    deadline = time.monotonic() + 30
    while left_behind(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_behind(mark) == []
    result = ground.tune(tmp_path, trials=8)
    assert result["trials"] >= 8
    assert_sound(tmp_path, result["trials"])


@on_relax
def test_kernels_with_threads_are_measured_beside_a_canary_if_asked(
    tmp_path: Path, ground: Ground
) -> None:
    tasks = ["matmul:32", "threads:48"]
    ground.tune(tmp_path, trials=4, tasks=tasks, options={"batch": 2, "steady": True})
    ground.tune(tmp_path, trials=6, tasks=tasks, options={"batch": 2})
    names = {
        task["key"]: task["name"]
        for task in json.loads((tmp_path / records.SIDECAR).read_text())["tasks"]
    }
    lines = [line for line in trials(tmp_path) if line["status"] == "ok"]
    watched = [(names[line["task"]], canary.FACT in line) for line in lines]
    assert set(watched[:4]) == {("matmul:32", False), ("threads:48", True)}
    assert not any(seen for _, seen in watched[4:])


@on_relax
def test_a_hung_kernel_is_a_counted_error_and_is_not_tried_again(
    tmp_path: Path, ground: Ground
) -> None:
    settings = {"tasks": ["call:pause", "matmul:32"], "options": {"run_timeout": 2.0}}
    result = ground.tune(tmp_path, trials=4, **settings)
    assert faults(result["errors"]) == {"run_timeout": 1}
    assert_sound(tmp_path, 4)
    again = ground.tune(tmp_path, trials=6, **settings)
    assert faults(again["errors"]) == {}
    assert_sound(tmp_path, 6)


@on_relax
def test_a_server_that_dies_and_comes_back_costs_no_candidate(
    tmp_path: Path, ground: Ground
) -> None:
    from tvmkd.boards.fleet import start_server

    with running_fleet(1, key="mortal", threads=1, runs=ground.runs) as fleet:
        process = start_and_wait_for_trials(
            tmp_path, ground, 3, fleet, trials=10, options={"batch": 2, "board_wait": 30}
        )
        fleet.servers[0].end()
        fleet.servers.append(
            start_server(f"{fleet.host}:{fleet.port}", "mortal", threads=1, runs=ground.runs)
        )
        name, data = tiny_kernels.events(process)[-1]
    assert name == "result", data
    assert faults(data["errors"]) == {}
    assert data["sessions_lost"] >= 1
    assert_sound(tmp_path, 10)


@on_relax
def test_a_server_that_stays_dead_ends_the_run_clearly(tmp_path: Path, ground: Ground) -> None:
    with running_fleet(1, key="mortal", threads=1, runs=ground.runs) as fleet:
        process = start_and_wait_for_trials(
            tmp_path, ground, 3, fleet, trials=30, options={"batch": 2, "board_wait": 1}
        )
        fleet.servers[0].end()
        name, data = tiny_kernels.events(process)[-1]
    assert name == "failed"
    assert data["type"] == "MissingError"
    assert "no board" in data["message"]
    lines = trials(tmp_path)
    assert lines
    assert {line["status"] for line in lines} <= {"ok", WRONG}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trials": 0}, "at least 1"),
        ({"trials": -3}, "at least 1"),
        ({"tasks": []}, "nothing to tune"),
        ({"options": {"batches": 3}}, "unknown tuning option 'batches'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_starts(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = tmp_path / "records"
    arguments: dict[str, Any] = {"tasks": [object()], "trials": 1, "options": None, **change}
    tasks = arguments.pop("tasks")
    with pytest.raises(UsageError, match=message):
        tune_into(folder, tasks, {}, {}, seed=0, emit=lambda *_: None, stack="relax", **arguments)
    assert not folder.exists()
