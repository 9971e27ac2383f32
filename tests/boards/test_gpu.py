"""The same road on a real GPU of this machine: server, driver-only runtime, PTX; tuned for it."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnxruntime
import pytest
import test_cuda

import tvmkd
from tvmkd import targets
from tvmkd.base.tolerance import error_of_range
from tvmkd.bench import CompareOptions, compare, selection
from tvmkd.boards import bundle
from tvmkd.boards.connect import boards
from tvmkd.boards.fleet import Process, start_tracker
from tvmkd.export.half import half
from tvmkd.stacks.compile import build, tune
from tvmkd.tensorrt import device
from tvmkd.tuning import records

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


# The target of this machine's own GPU: its facts are the driver's, its boards are made here.

NO_GPU = pytest.mark.skipif(device.find() is None, reason="this machine has no NVIDIA GPU")


def in_half(path: Path) -> Path:
    """Convolutions and a product whose channels fill the fragments of tensor cores."""
    g = graphs.Graph(1, 32, 28, 28)
    for _ in range(2):
        g.conv(32, 32)
        g.add("Relu")
    g.add("GlobalAveragePool")
    g.add("Flatten")
    g.add("MatMul", g.weight(32, 64))
    half(g.save(path.with_suffix(".fp32.onnx")), path)
    return path


@NO_GPU
@pytest.mark.parametrize("write", [test_cuda.network, in_half], ids=["fp32", "fp16"])
def test_this_machines_gpu_is_tuned_for(write: Callable[[Path], Path], tmp_path: Path) -> None:
    model, folder, goal = write(tmp_path / "m.onnx"), tmp_path / "records", targets.load("cuda")
    summary = tune(model, goal, folder, trials=48, tracker=None)
    assert summary["trials"] == 48
    for runtime in ("tvm", "standalone"):
        made = build(model, goal, [folder], tmp_path / runtime, runtime=runtime)
        assert made["check"]["samples"] > 0
        assert made["coverage"]["tuned"] > 0
    x = np.random.default_rng(0).standard_normal(made["inputs"][0]["shape"]).astype("float32")
    (want,) = onnxruntime.InferenceSession(os.fspath(model)).run(None, {"x": x})
    found = tvmkd.load(tmp_path / "standalone")(x)
    assert error_of_range(found, want) < 2e-2


@NO_GPU
def test_tensor_cores_are_searched(tmp_path: Path) -> None:
    goal = targets.load("cuda")
    if goal.cuda is None or int(goal.cuda.arch.removeprefix("sm_")) < 75:
        pytest.skip("this GPU has no tensor cores that are searched for")
    model, folder = in_half(tmp_path / "m.onnx"), tmp_path / "records"
    tune(model, goal, folder, trials=64, tracker=None)
    lines = list(records.read_lines(folder / records.TRIALS))
    assert sum(line["figure"] is not None for line in lines) > 32
    assert "wmma" in (folder / records.RECORDS).read_text()


@NO_GPU
@pytest.mark.parametrize("mode", ["graph", "launches"])
def test_torch_tensors_stay_on_the_gpu(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no GPU")
    monkeypatch.setenv("TVMKD_CUDA", mode)
    model = test_cuda.network(tmp_path / "m.onnx")
    build(model, targets.load("cuda"), [], tmp_path / "out", runtime="standalone")
    loaded = tvmkd.load(tmp_path / "out")
    session = onnxruntime.InferenceSession(os.fspath(model))
    stream = torch.cuda.Stream()
    for number in range(3):
        x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(number))
        with torch.cuda.stream(stream):
            there = x.to("cuda", non_blocking=True)
            found = loaded(there)
            found = found + 0  # in the same stream, with no wait between
        assert found.device.type == "cuda"
        stream.synchronize()
        (want,) = session.run(None, {"x": x.numpy()})
        np.testing.assert_allclose(found.cpu().numpy(), want, rtol=1e-4, atol=1e-5)


@NO_GPU
def test_a_comparison_with_and_without_graphs(tmp_path: Path) -> None:
    model = test_cuda.network(tmp_path / "m.onnx")
    build(model, targets.load("cuda"), [], tmp_path / "out", runtime="standalone")
    artifacts = selection.by_stack([tmp_path / "out"])
    specs = selection.select(["tvm:standalone"], selection.Files(model, artifacts), device="gpu")
    for graph in (False, True):
        options = CompareOptions(seconds=0.2, rounds=2, processes=1, cuda_graph=graph)
        (engine,) = compare(specs, model, options=options).engines
        assert engine.p50 > 0
        assert engine.gpu_memory_bytes
