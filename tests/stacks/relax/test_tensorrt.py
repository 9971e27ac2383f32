"""Regions of a Relax model in another engine: ONNX Runtime here, behind what runs TensorRT's."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from in_relax import in_relax

import tvmkd
from tvmkd import targets
from tvmkd.base import stack_registry
from tvmkd.base.errors import InputError, MissingError, UsageError
from tvmkd.boards.fleet import local_fleet
from tvmkd.boards.remote import RemoteModel
from tvmkd.byoc.region import ENGINES
from tvmkd.stacks.client import StackClient

pytestmark = pytest.mark.timeout(240)
TARGET = targets.load("host").to_dict()
NANO = targets.load("jetson-nano-gpu").to_dict()
NO_CONVERSION = "TVM cannot convert it to TensorRT"


@pytest.fixture(scope="module")
def stack(relax_stack: StackClient) -> StackClient:
    return relax_stack


def test_the_command_line_offers_every_engine() -> None:
    assert stack_registry.get("relax").byoc == tuple(ENGINES)


@pytest.mark.parametrize("name", graphs.ALL)
def test_every_graph_goes_in_whole_and_is_right(
    name: str, stack: StackClient, tmp_path: Path
) -> None:
    model = graphs.ALL[name](tmp_path / f"{name}.onnx")
    manifest = stack.build(model, TARGET, [], tmp_path / "out", byoc="onnxruntime")
    byoc = manifest["coverage"]["byoc"]
    assert (byoc["regions"], byoc["left"], byoc["mac_share"]) == (1, [], 1.0)
    assert manifest["coverage"]["tasks"] == 0
    assert [region["form"] for region in byoc["carried"]] == ["onnx"]
    assert (byoc["engine"], byoc["codegen"]) == ("onnxruntime", "tvmkd")
    assert manifest["check"]["samples"] >= 4
    assert manifest["check"]["max_error"] < 1e-4


def test_an_operator_between_two_regions_stays(stack: StackClient, tmp_path: Path) -> None:
    model = graphs.split_in_two(tmp_path / "m.onnx")
    manifest = stack.build(model, TARGET, [], tmp_path / "out", byoc="onnxruntime")
    byoc = manifest["coverage"]["byoc"]
    assert byoc["regions"] == len(byoc["carried"]) == 2
    assert [region["region"] for region in byoc["carried"]] == ["tensorrt_0", "tensorrt_1"]
    assert byoc["offloaded"]["nn.conv2d"] == 2
    assert {entry["name"]: entry["reasons"] for entry in byoc["left"]} == {
        "argmax": [NO_CONVERSION],
        "astype": [NO_CONVERSION],
    }
    assert byoc["operators"] == sum(byoc["offloaded"].values()) + 2
    assert manifest["coverage"]["tasks"] > 0
    assert manifest["check"]["max_error"] < 1e-4
    rows = stack.profile(tmp_path / "out", repeats=3)
    assert sum(row["kernel"].startswith("tensorrt_") for row in rows) == 2


def test_what_would_be_taken_is_said_without_building(stack: StackClient, tmp_path: Path) -> None:
    g = graphs.Graph(1, 3, 9, 9)
    g.conv(3, 8)
    g.add("AveragePool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    g.add("Sign")
    lowered = stack.lower(g.save(tmp_path / "m.onnx"), NANO, show=True, byoc="tensorrt")
    assert {entry["name"]: entry["reasons"] for entry in lowered["byoc"]["left"]} == {
        "nn.avg_pool2d": ["it rounds up the size of a mean's windows"],
        "sign": [NO_CONVERSION],
    }
    assert lowered["byoc"]["available"] is None
    assert lowered["byoc"]["version"] is None
    assert 'R.func_attr({"Codegen": "tensorrt"})' in lowered["module"]
    assert lowered["tasks"] == []


def test_equal_operators_count_each_time(stack: StackClient, tmp_path: Path) -> None:
    """Equal ones are one composite function."""
    g = graphs.Graph(1, 8, 16)
    for _ in range(3):
        g.add("MatMul", g.weight(16, 16))
        g.add("Softmax", axis=-1)
    g.add("Sign")
    byoc = stack.lower(g.save(tmp_path / "m.onnx"), NANO, byoc="tensorrt")["byoc"]
    assert byoc["offloaded"] == {"matmul": 3, "nn.softmax": 3}
    assert byoc["operators"] == 7


def test_a_library_for_a_gpu_elsewhere_carries_onnx(stack: StackClient, tmp_path: Path) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    manifest = stack.build(
        graphs.split_in_two(tmp_path / "m.onnx"),
        NANO,
        [],
        tmp_path / "out",
        byoc="tensorrt",
        on_event=lambda *event: events.append(event),
    )
    assert {region["form"] for region in manifest["coverage"]["byoc"]["carried"]} == {"onnx"}
    library = (tmp_path / "out" / "model.so").read_bytes()
    assert library[18] == 0xB7  # EM_AARCH64
    assert b"TVMKDRG1" in library
    assert b"sm_53" not in library  # what stays runs on the CPU
    (note,) = [data["text"] for name, data in events if name == "note"]
    assert "built where the library is first loaded" in note


def test_what_cannot_be_is_said_before_the_work(stack: StackClient, tmp_path: Path) -> None:
    model, out = graphs.separable(tmp_path / "m.onnx"), tmp_path / "out"
    cpu = targets.load("jetson-nano").to_dict()
    with pytest.raises(InputError, match="jetson-nano: has no GPU for TensorRT;"):
        stack.build(model, cpu, [], out, byoc="tensorrt")
    with pytest.raises(UsageError, match="the relax stack cannot offload to tpu"):
        stack.build(model, TARGET, [], out, byoc="tpu")
    with StackClient("relay", sys.executable) as relay, pytest.raises(UsageError, match="tensorrt"):
        relay.lower(model, TARGET, byoc="onnxruntime")
    assert not out.exists()


@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx"])
def test_without_the_package_it_says_how_to_get_it(
    engine: str, stack: StackClient, tmp_path: Path
) -> None:
    model = graphs.separable(tmp_path / "m.onnx")
    reason = stack.lower(model, TARGET, byoc=engine)["byoc"]["available"]
    if reason is None:
        pytest.skip(f"{ENGINES[engine]} runs here")
    with pytest.raises(MissingError) as caught:
        stack.build(model, TARGET, [], tmp_path / "out", byoc=engine)
    assert str(caught.value) == reason
    assert "\n" not in reason
    assert not (tmp_path / "out").exists()


ADA = {**NANO, "cuda": {**NANO["cuda"], "arch": "sm_89"}}


def test_tensorrt_rtx_s_engines_are_in_the_library(stack: StackClient, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    model = graphs.split_in_two(tmp_path / "m.onnx")
    manifest = stack.build(model, ADA, [], tmp_path / "out", byoc="tensorrt-rtx")
    carried = manifest["coverage"]["byoc"]["carried"]
    assert [region["form"] for region in carried] == ["plan", "plan"]
    assert manifest["files"]["model.so"]["size"] > sum(region["bytes"] for region in carried)
    assert b'"compute_capability": "8.9"' in (tmp_path / "out" / "model.so").read_bytes()


def test_what_tensorrt_rtx_refuses_stays_in_tvm(stack: StackClient, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    turing = {**NANO, "cuda": {**NANO["cuda"], "arch": "sm_75"}}
    notes: list[str] = []
    manifest = stack.build(
        graphs.stranger(tmp_path / "m.onnx"),
        turing,
        [],
        tmp_path / "out",
        byoc="tensorrt-rtx",
        on_event=lambda name, data: notes.append(data["text"]) if name == "note" else None,
    )
    byoc = manifest["coverage"]["byoc"]
    assert (byoc["regions"], byoc["offloaded"]) == (0, {})
    (note,) = notes
    assert note.startswith("TensorRT-RTX refuses a region of 9 operators:")
    assert manifest["coverage"]["tasks"] > 0
    with pytest.raises(UsageError, match=r"does not build for 5\.3"):
        stack.build(
            graphs.separable(tmp_path / "n.onnx"), NANO, [], tmp_path / "n", byoc="tensorrt-rtx"
        )


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx"])
def test_on_a_gpu_the_outputs_are_right(engine: str, stack: StackClient, tmp_path: Path) -> None:
    model = graphs.split_in_two(tmp_path / "m.onnx")
    try:
        manifest = stack.build(model, TARGET, [], tmp_path / "out", byoc=engine)
    except MissingError as error:
        pytest.skip(str(error))
    assert manifest["coverage"]["byoc"]["regions"] == 2
    assert manifest["check"]["max_error"] < 1e-4


@pytest.fixture(scope="module")
def artifact(stack: StackClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("byoc")
    stack.build(
        graphs.split_in_two(folder / "m.onnx"), TARGET, [], folder / "out", byoc="onnxruntime"
    )
    return folder / "out"


def wanted(artifact: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(artifact.parent / "m.onnx"))
    (found,) = session.run(None, {"x": x})
    return np.asarray(found)


X = np.random.default_rng(5).standard_normal((1, 3, 8, 8)).astype(np.float32)


def test_an_artifact_loads_like_any_other(artifact: Path) -> None:
    np.testing.assert_allclose(tvmkd.load(artifact)(X), wanted(artifact, X), atol=1e-5)


def test_a_fresh_process_needs_a_line_more_than_plain_tvm(artifact: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    code = (
        "import sys, numpy, tvm\n"
        "from tvm import relax\n"
        "from tvmkd.byoc import regions\n"
        "regions.install(tvm, tvm.runtime.tensor)\n"
        "vm = relax.VirtualMachine(tvm.runtime.load_module(sys.argv[1]), tvm.cpu())\n"
        "for _ in range(2):\n"
        "    y = vm['main'](tvm.runtime.tensor(numpy.load('x.npy'))).numpy()\n"
        "numpy.save('y.npy', y)\n"
    )
    root = str(Path(tvmkd.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", code, artifact / "model.so"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        check=True,
        timeout=120,
    )
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), wanted(artifact, X), atol=1e-5)


def test_a_region_that_cannot_be_opened_is_said_at_loading(artifact: Path, tmp_path: Path) -> None:
    shutil.copytree(artifact, tmp_path / "out")
    library, manifest = (tmp_path / "out" / name for name in ("model.so", "manifest.json"))
    before = library.read_bytes()
    library.write_bytes(before.replace(b"TVMKDRG1", b"TVMKDRG0"))
    sums = [hashlib.sha256(data).hexdigest() for data in (before, library.read_bytes())]
    manifest.write_text(manifest.read_text().replace(*sums))
    with pytest.raises(InputError, match="a region in the library cannot be read"):
        tvmkd.load(tmp_path / "out")


@pytest.mark.rpc
def test_a_library_with_regions_runs_over_rpc(artifact: Path) -> None:
    with (
        local_fleet(1, "byoc", threads=1) as tracker,
        RemoteModel(artifact / "model.so", TARGET, tracker) as remote,
    ):
        (found,) = remote.run([X])
        assert len(remote.time([X], 2)) == 2
    np.testing.assert_allclose(found, wanted(artifact, X), atol=1e-5)


MACS = """
def macs(make, *shapes):
    params = [relax.Var(f"x{i}", relax.TensorType(s, "float32")) for i, s in enumerate(shapes)]
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        builder.emit_func_output(builder.emit(make(*params)))
    return tensorrt.macs_of(builder.get()["main"].body.blocks[0].bindings[0].value)

n, op, nn = tvm.tirx.Var("n", "int64"), relax.op, relax.op.nn
print(json.dumps([
    macs(nn.conv1d, (2, 6, 10), (4, 6, 3)),
    macs(lambda x, w: nn.conv2d(x, w, groups=2), (1, 6, 9, 9), (4, 3, 3, 3)),
    macs(nn.conv2d, (n, 6, 9, 9), (4, 6, 3, 3)),
    macs(lambda x, w: nn.conv2d_transpose(x, w, strides=2), (1, 6, 5, 5), (6, 4, 2, 2)),
    macs(op.matmul, (2, 5, 7), (7, 3)),
    macs(nn.relu, (2, 5)),
]))
"""


def test_multiply_accumulates() -> None:
    assert in_relax(MACS) == [
        2 * 4 * 8 * 6 * 3,
        4 * 7 * 7 * 3 * 9,
        4 * 7 * 7 * 6 * 9,
        6 * 5 * 5 * 4 * 4,
        2 * 5 * 7 * 3,
        0,
    ]
