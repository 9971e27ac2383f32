"""The Relay stack through its worker: every graph right, coverage told, wrong records caught."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
import relay_stack
from plant_relay import build_wrongly, plant, read_by_upstream

import tvmkd
from tvmkd import targets
from tvmkd.base.errors import InputError
from tvmkd.stacks.client import StackClient
from tvmkd.tuning import records as record_files

TARGET = targets.load("host").to_dict()

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module", autouse=True)
def _relay() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TVMKD_RELAY_PYTHON", relay_stack.relay_python())
        yield


@pytest.fixture
def stack(relay_client: StackClient) -> StackClient:
    return relay_client


@pytest.fixture
def separable(tmp_path: Path) -> Path:
    return graphs.separable(tmp_path / "m.onnx")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``m.onnx``, and ``records`` with one for each of its tasks. Not to be changed.

    ``records/aside.jsonl`` may appear: copy the folder before a build that sets something aside.
    """
    folder = tmp_path_factory.mktemp("tuned")
    graphs.separable(folder / "m.onnx")
    plant(folder / "m.onnx", folder / "records", TARGET, ["good", "misfit"])
    return folder


def test_it_says_which_tvm_it_is(stack: StackClient) -> None:
    answer = stack.available()
    assert answer["version"].startswith("0.")
    assert answer["reason"] is None


# Others build the rest: `separable` with records, `shuffle` to be loaded.
@pytest.mark.parametrize("name", ["ragged", "attention", "stranger", "pooled"])
def test_a_build_agrees_with_onnxruntime(name: str, stack: StackClient, tmp_path: Path) -> None:
    model = graphs.ALL[name](tmp_path / f"{name}.onnx")
    manifest = stack.build(model, TARGET, [], tmp_path / "out")
    assert manifest["stack"] == "relay"
    assert manifest["check"]["samples"] >= 4
    assert manifest["check"]["max_error"] < 1e-4
    assert manifest["coverage"]["tuned"] == 0


def test_lowering_names_tasks_inputs_and_outputs(stack: StackClient, separable: Path) -> None:
    lowered = stack.lower(separable, TARGET, features=True)
    assert {"conv2d", "depthwise", "dense"} <= {task["kind"] for task in lowered["tasks"]}
    assert lowered["inputs"] == [{"name": "x", "shape": [1, 3, 20, 20], "dtype": "float32"}]
    assert [out["shape"] for out in lowered["outputs"]] == [[1, 10]]
    # The stem: 10 x 10 pixels of 16 channels, 27 products and sums each.
    assert any(task["flop"] >= 2 * 100 * 16 * 27 for task in lowered["tasks"])
    assert all(task["features"]["work"] >= task["features"]["sums"] for task in lowered["tasks"])
    # Biases and activations fuse with their convolution.
    names = [task["name"] for task in lowered["tasks"]]
    assert sum("conv2d" in name for name in names) == 3
    assert all("add" in name for name in names if "conv2d" in name or "dense" in name)


def test_tuned_kernels_are_right_and_a_record_that_does_not_fit_is_passed_over(
    stack: StackClient, tuned: Path, tmp_path: Path
) -> None:
    manifest = stack.build(tuned / "m.onnx", TARGET, [tuned / "records"], tmp_path / "out")
    coverage = manifest["coverage"]
    assert manifest["check"]["max_error"] < 1e-4
    assert (coverage["tuned_share"], coverage["set_aside"]) == (1.0, [])
    assert manifest["records"][0]["used"] == coverage["tuned"] == coverage["tasks"]
    rows = stack.profile(tmp_path / "out", repeats=3)
    assert sum(row["share"] for row in rows) == pytest.approx(1.0)
    assert rows == sorted(rows, key=lambda row: -row["us"])
    known = [row for row in rows if row["task_key"] is not None]
    assert len(known) == coverage["tasks"]
    assert sum(row.get("gflops", 0) > 0 for row in known) >= 4


def test_tuned_products_and_softmax_are_right(stack: StackClient, tmp_path: Path) -> None:
    model, records = graphs.stranger(tmp_path / "m.onnx"), tmp_path / "records"
    plant(model, records, TARGET, ["good"])
    manifest = stack.build(model, TARGET, [records], tmp_path / "out")
    assert manifest["check"]["max_error"] < 1e-4
    assert manifest["coverage"]["tuned_share"] == 1.0


def test_a_wrong_record_is_found_set_aside_and_the_next_best_taken(tmp_path: Path) -> None:
    model, records = graphs.two_convolutions(tmp_path / "m.onnx"), tmp_path / "records"
    plant(model, records, TARGET, ["good", "wrong"])
    told = build_wrongly(model, records, TARGET, tmp_path / "out")
    aside = [data for name, data in told["events"] if name == "set_aside"]
    assert len(aside) == 1
    assert "differ" in aside[0]["reason"]
    lines = record_files.read_lines(records / record_files.ASIDE)
    assert [line["key"] for line in lines] == [aside[0]["key"]]
    manifest = told["manifest"]
    assert manifest["coverage"]["set_aside"][0]["key"] == aside[0]["key"]
    assert manifest["check"]["max_error"] < 1e-4
    # Every task has its good record: the one behind the wrong one was taken.
    assert manifest["coverage"]["tuned"] == manifest["coverage"]["tasks"]


def test_upstreams_own_tools_read_the_log(tuned: Path) -> None:
    log = tuned / "records" / record_files.LOG
    assert read_by_upstream(log) == len(record_files.load(tuned / "records")) > 0


def test_an_opset_that_is_too_new_is_refused_at_once(stack: StackClient, tmp_path: Path) -> None:
    model = onnx.load(graphs.separable(tmp_path / "m.onnx"))
    model.opset_import[0].version = 99
    onnx.save(model, tmp_path / "new.onnx")
    for ask in (stack.lower, lambda *given: stack.build(*given, [], tmp_path / "out")):
        with pytest.raises(InputError, match=r"new.onnx: .*opset 99"):
            ask(tmp_path / "new.onnx", TARGET)
    assert not (tmp_path / "out").exists()


def test_an_artifact_for_another_machine_is_built_unchecked(
    stack: StackClient, separable: Path, tmp_path: Path
) -> None:
    manifest = stack.build(separable, targets.load("jetson-nano").to_dict(), [], tmp_path / "out")
    assert "aarch64" in manifest["check"]["skipped"]
    header = (tmp_path / "out" / "model.so").read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    assert header[18] == 0xB7  # EM_AARCH64


def test_a_gpu_needs_another_build_of_tvm(
    stack: StackClient, separable: Path, tmp_path: Path
) -> None:
    nano = targets.load("jetson-nano-gpu").to_dict()
    with pytest.raises(tvmkd.base.errors.TvmkdError, match="built without cuda"):
        stack.build(separable, nano, [], tmp_path / "out")


def test_load_gives_a_callable_on_numpy(stack: StackClient, tmp_path: Path) -> None:
    model = graphs.shuffle(tmp_path / "m.onnx")
    stack.build(model, TARGET, [], tmp_path / "out")
    x = np.random.default_rng(3).standard_normal((1, 24, 8, 8)).astype(np.float32)
    loaded = tvmkd.load(tmp_path / "out")
    first, second = loaded(x)
    import onnxruntime

    wanted: Any = onnxruntime.InferenceSession(str(model)).run(None, {"x": x})
    np.testing.assert_allclose(first, wanted[0], atol=1e-5)
    np.testing.assert_allclose(second, wanted[1], atol=1e-5)
    with pytest.raises(InputError, match=r'input "x": expects shape'):
        loaded(x[:, :, 1:])
    np.testing.assert_array_equal(loaded(x)[0], first)


def test_shapes_that_depend_on_the_data_take_a_virtual_machine(
    stack: StackClient, tmp_path: Path
) -> None:
    import onnxruntime

    model, records = graphs.positions(tmp_path / "m.onnx"), tmp_path / "records"
    plant(model, records, TARGET, ["good"])
    manifest = stack.build(model, TARGET, [records], tmp_path / "out")
    assert manifest["check"]["max_error"] < 1e-4
    assert manifest["coverage"]["tuned_share"] == 1.0
    _, positions = manifest["outputs"]
    rows, axes = positions["shape"]
    assert isinstance(rows, str)
    assert axes == 4
    loaded, session = tvmkd.load(tmp_path / "out"), onnxruntime.InferenceSession(str(model))
    counts = set()
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal((1, 3, 12, 12)).astype(np.float32)
        wanted: Any = session.run(None, {"x": x})
        sums, places = loaded(x)
        np.testing.assert_allclose(sums, wanted[0], atol=1e-5)
        np.testing.assert_array_equal(places, wanted[1])
        counts.add(len(places))
    assert len(counts) > 1
    with pytest.raises(InputError, match="only a graph executor's kernels"):
        stack.profile(tmp_path / "out")


def test_import_leaves_nothing_in_the_working_folder(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(empty)
        with StackClient("relay") as client:
            client.available()
    assert list(empty.iterdir()) == []
