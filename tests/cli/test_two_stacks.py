"""A network by both stacks, over one tracker, and one comparison that holds both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import relay_stack
import toys

from tvmkd.boards.fleet import start_server, start_tracker
from tvmkd.runtime import interpreters

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("warm_worker")]
QUICK = ("--seconds", "0.2", "--rounds", "2", "--processes", "1", "--threads", "1")


@pytest.fixture(autouse=True)
def _relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVMKD_RELAY_PYTHON", relay_stack.relay_python())


@pytest.fixture
def tracker() -> Iterator[str]:
    """A tracker with a board for each stack: under ``drawer`` and under ``drawer-relay``."""
    process = start_tracker()
    servers = []
    try:
        address = f"127.0.0.1:{process.wait_until_listening()}"
        for key, stack in (("drawer", "relax"), ("drawer-relay", "relay")):
            runs = interpreters.find(stack)
            servers.append(start_server(address, key, threads=1, runs=runs))
            servers[-1].wait_until_listening()
        yield address
    finally:
        for server in [*servers, process]:
            server.end()


@pytest.mark.rpc
@pytest.mark.slow
def test_a_network_by_both(tvmkd: Any, tracker: str, tmp_path: Path) -> None:
    onnx, records = toys.onnx_file(tmp_path / "m.onnx"), tmp_path / "records"
    boards = ("--rpc-tracker", tracker, "--rpc-key", "drawer")
    tune = ("tune", onnx, "--stack", "both", *boards, "--trials", "4", "--records", records)
    done = tvmkd(*tune, "--json")
    assert done.code == 0, done.err
    for stack, summary in json.loads(done.out).items():
        assert 0 < summary["fresh"] <= 4, f"{stack}: a space may hold fewer"
        assert {*summary["errors"]} <= {"wrong_output"}, stack
        assert summary["end_to_end_us"] > 0
        assert summary["seconds"] > 0
        out = ("-o", tmp_path / stack)
        build = ("build", onnx, "--stack", stack, "--records", records / stack, *out, "--json")
        done = tvmkd(*build)
        assert done.code == 0, done.err
        manifest = json.loads(done.out)
        assert manifest["stack"] == stack
        assert manifest["coverage"]["tuned_share"] > 0.9
        assert manifest["check"]["max_error"] < 1e-4
    artifacts = ("--artifact", tmp_path / "relax", "--artifact", tmp_path / "relay")
    done = tvmkd("compare", onnx, *artifacts, *QUICK, "--json")
    assert done.code == 0, done.err
    engines = {engine["name"]: engine for engine in json.loads(done.out)["engines"]}
    assert set(engines) == {"onnxruntime", "tvm:relax", "tvm:relay"}
    for name in ("tvm:relax", "tvm:relay"):
        assert engines[name]["facts"]["stack"] == name[4:]
        assert engines[name]["relative_error"] < 1e-4
    version = engines["tvm:relay"]["facts"]["version"]
    assert version != engines["tvm:relax"]["facts"]["version"]
    # On a board of its own stack, by that board's clock.
    on_board = ("--rpc-tracker", tracker, "--rpc-key", "drawer-relay")
    done = tvmkd("compare", onnx, *artifacts[2:], *on_board, *QUICK, "--json")
    assert done.code == 0, done.err
    (engine,) = json.loads(done.out)["engines"]
    assert (engine["name"], engine["facts"]["stack"]) == ("tvm", "relay")


@pytest.mark.rpc
@pytest.mark.slow
def test_boards_of_the_other_stack_are_named_as_such(
    tvmkd: Any, tracker: str, tmp_path: Path
) -> None:
    onnx, records = toys.onnx_file(tmp_path / "m.onnx"), tmp_path / "records"
    boards = ("--rpc-tracker", tracker, "--rpc-key", "drawer")
    done = tvmkd("tune", onnx, "--stack", "relay", *boards, "--trials", "1", "--records", records)
    assert done.code == 5
    assert "another generation of TVM" in done.line


def test_an_interpreter_without_tvm_is_one_line(tvmkd: Any, tmp_path: Path) -> None:
    onnx = toys.onnx_file(tmp_path / "m.onnx")
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {interpreters.find("relay").python} -S "$@"\n')
    bare.chmod(0o755)
    done = tvmkd("build", onnx, "--stack", "relay", "--stack-python", bare, "-o", tmp_path / "o")
    assert done.code == 5
    assert "tvmkd stack list" in done.line
    gone = tmp_path / "gone"
    done = tvmkd("build", onnx, "--stack", "relay", "--stack-python", gone, "-o", tmp_path / "o")
    assert done.code == 4
    assert done.line.startswith(f"{gone}: is not a program")


def test_two_artifacts_of_one_stack_and_byoc_without_its_tvm(tvmkd: Any, tmp_path: Path) -> None:
    onnx, out = toys.onnx_file(tmp_path / "m.onnx"), tmp_path / "out"
    done = tvmkd("build", onnx, "--stack", "relay", "--untuned", "-o", out, "--json")
    assert done.code == 0, done.err
    done = tvmkd("compare", onnx, "--artifact", out, "--artifact", out)
    assert done.code == 4
    assert "are both of the stack relay" in done.line
    done = tvmkd("build", onnx, "--stack", "relay", "--byoc", "tensorrt", "-o", tmp_path / "trt")
    assert done.code == 5
    assert "USE_TENSORRT_CODEGEN" in done.line
    assert not (tmp_path / "trt").exists()


def test_records_of_the_other_stack_are_refused(tvmkd: Any, tmp_path: Path) -> None:
    onnx = toys.onnx_file(tmp_path / "m.onnx")
    records = toys.records_of(tmp_path / "records", "host")
    for verb in (("tune", "--trials", "1"), ("build", "-o", tmp_path / "out")):
        done = tvmkd(verb[0], onnx, "--stack", "relay", "--records", records, *verb[1:])
        assert done.code == 4
        assert "was made by the stack 'relax', not 'relay'" in done.line
