from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bad_models
import pytest
import toys

pytestmark = pytest.mark.usefixtures("warm_worker")


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    return toys.onnx_file(tmp_path / "m.onnx")


@pytest.mark.rpc
@pytest.mark.slow
def test_trials_are_made_once_and_gone_on_from(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    records = tmp_path / "records"
    command = ("tune", onnx, "--records", records, "--json")
    done = tvmkd(*command, "--trials", "4")
    assert done.code == 0, done.err
    first = json.loads(done.out)
    assert first["fresh"] == first["trials"] > 0
    again = json.loads(tvmkd(*command, "--trials", str(first["trials"])).out)
    assert (again["fresh"], again["trials"]) == (0, first["trials"])
    lines = (records / "trials.jsonl").read_text().splitlines()
    keys = [(line["task"], line["key"]) for line in map(json.loads, lines)]
    assert len(keys) == len(set(keys)) == first["trials"]
    done = tvmkd("build", onnx, "--records", records, "-o", tmp_path / "out", "--json")
    assert json.loads(done.out)["coverage"]["tuned"] > 0


@pytest.mark.parametrize("name", bad_models.MESSAGES)
def test_bad_models(tvmkd: Any, tmp_path: Path, name: str) -> None:
    path = bad_models.write(name, tmp_path)
    done = tvmkd("tune", path, "--trials", "1", "--records", tmp_path / "records")
    assert done.code == 4
    assert done.line.startswith(f"{path}: ")
    assert re.search(bad_models.MESSAGES[name], done.line), done.line
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize("trials", ["0", "-3", "many"])
def test_trials_must_be_a_number_from_1(
    tvmkd: Any, onnx: Path, tmp_path: Path, trials: str
) -> None:
    done = tvmkd("tune", onnx, "--trials", trials, "--records", tmp_path / "records")
    assert done.code == 2
    assert "'--trials'" in done.err
    assert not (tmp_path / "records").exists()


def test_no_tracker_there(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = tvmkd(
            "tune", onnx, "--trials", "1", "--records", tmp_path / "r", "--rpc-tracker", address
        )
    assert done.code == 5
    assert address in done.line


@pytest.fixture
def tracker() -> Iterator[str]:
    from tvmkd.boards.fleet import start_tracker

    process = start_tracker()
    try:
        yield f"127.0.0.1:{process.wait_until_listening()}"
    finally:
        process.end()


@pytest.mark.rpc
def test_no_board_under_the_key(tvmkd: Any, onnx: Path, tmp_path: Path, tracker: str) -> None:
    done = tvmkd(
        *("tune", onnx, "--trials", "1", "--records", tmp_path / "r"),
        *("--rpc-tracker", tracker, "--rpc-key", "nano"),
    )
    assert done.code == 5
    assert "nano" in done.line


def test_the_tracker_comes_from_tvm_s_variables(
    tvmkd: Any, onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TVM_TRACKER_HOST", "127.0.0.1")
    monkeypatch.setenv("TVM_TRACKER_PORT", "1")
    done = tvmkd("tune", onnx, "--trials", "1", "--records", tmp_path / "r")
    assert done.code == 5
    assert "127.0.0.1:1" in done.line


def test_what_is_no_tracker_address(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    done = tvmkd("tune", onnx, "--trials", "1", "--records", tmp_path, "--rpc-tracker", "host:x")
    assert done.code == 2
    assert '"host:x" is not a tracker address' in done.err


def test_a_board_s_target_needs_a_tracker(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    command = ("tune", onnx, "--trials", "1", "--records", tmp_path / "r")
    done = tvmkd(*command, "--target", "jetson-nano")
    assert done.code == 2
    assert "give --rpc-tracker and --rpc-key of its boards" in done.line


def test_records_of_another_target(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    records = toys.records_of(tmp_path / "records", "raspberry-pi-4")
    done = tvmkd("tune", onnx, "--trials", "1", "--records", records, "--target", "host")
    assert done.code == 4
    assert f"{records} holds records for the target 'raspberry-pi-4'" in done.line


def test_an_unknown_target(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    done = tvmkd("tune", onnx, "--trials", "1", "--records", tmp_path, "--target", "jetsen-nano")
    assert done.code == 4
    assert 'did you mean "jetson-nano"?' in done.line
