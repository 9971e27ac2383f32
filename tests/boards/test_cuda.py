"""The Nano's GPU without one: real PTX, the real runtime under QEMU, a driver that only looks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_driver
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tvmkd import targets
from tvmkd.base.errors import MissingError, TvmkdError
from tvmkd.boards import bundle, emulate, examine
from tvmkd.boards.connect import boards
from tvmkd.boards.fleet import Process, start_tracker
from tvmkd.boards.remote import RemoteModel
from tvmkd.stacks.compile import build, tune
from tvmkd.tuning import records

NANO = targets.load("jetson-nano-gpu")
pytestmark = [
    pytest.mark.usefixtures("warm_worker"),
    pytest.mark.board,
    pytest.mark.rpc,
    pytest.mark.timeout(300),
    pytest.mark.skipif(emulate.why_not() is not None, reason=str(emulate.why_not())),
]


def product(path: Path) -> Path:
    """One kernel."""
    weight = np.random.default_rng(0).standard_normal((16, 4)).astype("float32")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 4])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def network(path: Path) -> Path:
    """A convolution, a mean and a product: three kinds of kernel."""
    rng = np.random.default_rng(0)
    weights = {"w": (8, 3, 3, 3), "b": (8,), "d": (8, 4)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "d"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "gpu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [
            onnx.numpy_helper.from_array(rng.standard_normal(shape).astype("float32"), name)
            for name, shape in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the fake driver, for the board's architecture."""
    folder = tmp_path_factory.mktemp("driver")
    return fake_driver.built(folder, "aarch64-linux-gnu.2.27")


def serve(env: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A board with a GPU: not marked as emulated, or nobody would give it a kernel for one."""
    tracker = start_tracker()
    port = tracker.wait_until_listening()
    server = bundle.runtime(NANO) / bundle.SERVER
    command = [emulate.QEMU, "-cpu", "cortex-a57", "-L", os.fspath(emulate.SYSTEM), str(server)]
    command += ["--tracker", f"127.0.0.1:{port}", "--key", "gpu", "--port", "0"]
    board = Process([*command, "--die-with-parent"], {"TVM_NUM_THREADS": "1", **env})
    try:
        board.wait_until_listening()
        while not boards("127.0.0.1", port):
            pass
        yield {"host": "127.0.0.1", "port": port, "key": "gpu"}
    finally:
        board.end()
        tracker.end()


@pytest.fixture
def board(driver: Path, tmp_path: Path) -> Iterator[dict[str, Any]]:
    log = os.fspath(tmp_path / "launches")
    yield from serve({"LD_LIBRARY_PATH": os.fspath(driver), "FAKE_CUDA_LOG": log})


@pytest.fixture
def computing_board(driver: Path) -> Iterator[dict[str, Any]]:
    yield from serve({"LD_LIBRARY_PATH": os.fspath(driver), "FAKE_CUDA_COMPUTES": "1"})


@pytest.fixture
def board_without_gpu() -> Iterator[dict[str, Any]]:
    yield from serve({})


def launches(folder: Path) -> list[str]:
    return [line.split()[0] for line in (folder / "launches").read_text().splitlines()]


SAMPLE = np.ones((1, 3, 16, 16), "float32")


def test_a_model_is_launched_kernel_by_kernel(board: dict[str, Any], tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx")
    manifest = build(model, NANO, [], tmp_path / "out")
    with RemoteModel(tmp_path / "out" / "model.so", NANO.to_dict(), board) as remote:
        assert remote.run([SAMPLE])[0].shape == (1, 4)
        assert len(remote.time([SAMPLE], 3)) == 3
    names = {name.partition("_kernel")[0] for name in launches(tmp_path)}
    # A reshape is no work: the virtual machine makes a view.
    assert names == set(manifest["coverage"]["kernels"]) - {"reshape"}
    facts = manifest["coverage"]["kernels"]["fused_conv2d_add_relu"]["ptxas"]
    assert 0 < facts["registers"] <= 255
    assert facts["spill_bytes"] == 0


def test_kernels_are_tuned_and_what_is_wrong_is_not_written(
    board: dict[str, Any], tmp_path: Path
) -> None:
    model, folder = product(tmp_path / "m.onnx"), tmp_path / "records"
    where: dict[str, Any] = {"tracker": (board["host"], board["port"]), "key": board["key"]}
    summary = tune(model, NANO, folder, trials=3, **where)
    assert summary["trials"] == 3
    lines = list(records.read_lines(folder / records.TRIALS))
    assert sum(line["figure"] is not None for line in lines) >= 2, summary["errors"]
    assert launches(tmp_path)
    # A driver that computes nothing gives wrong answers, with and without the records.
    with pytest.raises(TvmkdError, match=r"MatMul .*its output differs"):
        build(model, NANO, [folder], tmp_path / "out", board=board)
    assert not (tmp_path / "out").exists()
    manifest = build(model, NANO, [folder], tmp_path / "out")
    assert manifest["coverage"]["tuned"] > 0


def test_what_the_board_computes_is_right(computing_board: dict[str, Any], tmp_path: Path) -> None:
    """Also where the kernels of a standalone library are checked on the board's server."""
    model = network(tmp_path / "m.onnx")
    for runtime in ("tvm", "standalone"):
        out = tmp_path / runtime
        check = build(model, NANO, [], out, board=computing_board, runtime=runtime)["check"]
        assert check["max_error"] < 1e-4
        assert check["samples"] > 0
    assert (tmp_path / "standalone" / "libm.so").exists()


def test_the_drivers_reasons_reach_the_host(board: dict[str, Any], tmp_path: Path) -> None:
    assert NANO.cuda is not None
    young = dataclasses.replace(NANO, cuda=dataclasses.replace(NANO.cuda, ptx_max="8.0"))
    build(network(tmp_path / "m.onnx"), young, [], tmp_path / "out")
    with RemoteModel(tmp_path / "out" / "model.so", NANO.to_dict(), board) as remote:  # noqa: SIM117
        with pytest.raises(TvmkdError, match=r"CUDA_ERROR_UNSUPPORTED_PTX_VERSION.*too new"):
            remote.run([SAMPLE])


def test_the_doctor_tries_the_gpu_itself(board: dict[str, Any], tmp_path: Path) -> None:
    checks = {check.name: check for check in examine.trial(NANO, board)}
    # The driver computes nothing, and that is noticed.
    assert checks["kernel"].status == "fail"
    assert "a matrix product on the GPU is WRONG" in checks["kernel"].finding
    assert set(launches(tmp_path)) == {"main_kernel"}


def test_a_board_without_a_gpu_says_so(board_without_gpu: dict[str, Any], tmp_path: Path) -> None:
    build(network(tmp_path / "m.onnx"), NANO, [], tmp_path / "out")
    with pytest.raises(MissingError, match="finds no GPU there"):
        RemoteModel(tmp_path / "out" / "model.so", NANO.to_dict(), board_without_gpu)
