"""The same road on a real GPU of this machine: server, driver-only runtime, PTX for sm_53."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import test_cuda

from tvmkd import targets
from tvmkd.boards import bundle
from tvmkd.boards.connect import boards
from tvmkd.boards.fleet import Process, start_tracker
from tvmkd.stacks.compile import build, tune

pytestmark = [pytest.mark.gpu, pytest.mark.rpc, pytest.mark.timeout(500)]
HOST = targets.load("host")
# Any younger GPU translates PTX for sm_53 as the Nano's does.
HERE = dataclasses.replace(
    targets.load("jetson-nano-gpu"), name="gpu-here", host=HOST.tvm, toolchain=HOST.toolchain
)


@pytest.fixture
def board() -> Iterator[dict[str, Any]]:
    tracker = start_tracker()
    port = tracker.wait_until_listening()
    server = str(bundle.runtime(HERE) / bundle.SERVER)
    command = [server, "--tracker", f"127.0.0.1:{port}", "--key", "gpu", "--port", "0"]
    process = Process([*command, "--die-with-parent"], {})
    try:
        process.wait_until_listening()
        while not boards("127.0.0.1", port):
            time.sleep(0.05)
        yield {"host": "127.0.0.1", "port": port, "key": "gpu"}
    finally:
        process.end()
        tracker.end()


def test_a_tuned_model_agrees_with_onnxruntime(board: dict[str, Any], tmp_path: Path) -> None:
    model, folder = test_cuda.network(tmp_path / "m.onnx"), tmp_path / "records"
    plain = build(model, HERE, [], tmp_path / "plain", board=board)
    assert plain["check"]["max_error"] < 1e-4
    where: dict[str, Any] = {"tracker": (board["host"], board["port"]), "key": board["key"]}
    summary = tune(model, HERE, folder, trials=32, **where)
    assert summary["trials"] == 32
    tuned = build(model, HERE, [folder], tmp_path / "tuned", board=board)
    assert tuned["check"]["max_error"] < 1e-4
    assert tuned["coverage"]["tuned"] > 0
