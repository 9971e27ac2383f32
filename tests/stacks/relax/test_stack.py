"""The Relax stack through its worker: every graph right, coverage told, wrong records caught."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
import recurrent_models
from plant import plant

import tvmkd
from tvmkd import targets
from tvmkd.base.errors import InputError
from tvmkd.stacks.client import StackClient

TARGET = targets.load("host").to_dict()

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def stack(relax_stack: StackClient) -> StackClient:
    return relax_stack


@pytest.mark.parametrize("name", graphs.ALL)
def test_a_build_agrees_with_onnxruntime(name: str, stack: StackClient, tmp_path: Path) -> None:
    model = graphs.ALL[name](tmp_path / f"{name}.onnx")
    manifest = stack.build(model, TARGET, [], tmp_path / "out")
    assert manifest["check"]["samples"] >= 4
    assert manifest["check"]["max_error"] < 1e-4
    assert manifest["coverage"]["tuned"] == 0
    assert manifest["coverage"]["build_seconds"] > 0
    assert len(manifest["coverage"]["untuned"]) == manifest["coverage"]["tasks"] > 0


def test_lowering_names_tasks_inputs_and_outputs(stack: StackClient, tmp_path: Path) -> None:
    lowered = stack.lower(graphs.separable(tmp_path / "m.onnx"), TARGET)
    kinds = {task["kind"] for task in lowered["tasks"]}
    assert {"conv2d", "depthwise", "dense"} <= kinds
    assert all(task["template"] for task in lowered["tasks"])
    assert lowered["inputs"] == [{"name": "x", "shape": [1, 3, 20, 20], "dtype": "float32"}]
    assert [out["shape"] for out in lowered["outputs"]] == [[1, 10]]
    # The stem: 10 x 10 pixels of 16 channels, 27 products and sums each.
    assert any(task["flop"] >= 2 * 100 * 16 * 27 for task in lowered["tasks"])
    assert all(task["weight"] == 1 for task in lowered["tasks"])
    assert not any("features" in task for task in lowered["tasks"])


def test_lowering_describes_kernels_by_numbers_where_asked(
    stack: StackClient, tmp_path: Path
) -> None:
    tasks = stack.lower(graphs.separable(tmp_path / "m.onnx"), TARGET, features=True)["tasks"]
    assert all(task["features"]["flop"] == task["flop"] for task in tasks)
    assert all("expected" in t["features"] for t in tasks if t["kind"] in ("conv2d", "depthwise"))


def test_a_convolutional_network_is_transposed_only_at_its_entrance(
    stack: StackClient, tmp_path: Path
) -> None:
    names = [t["name"] for t in stack.lower(graphs.separable(tmp_path / "m"), TARGET)["tasks"]]
    assert sum("transpose" in name for name in names) <= 1


def test_wide_3x3_convolutions_go_by_winograd(stack: StackClient, tmp_path: Path) -> None:
    tasks = stack.lower(graphs.winograd(tmp_path / "m.onnx"), TARGET)["tasks"]
    assert sum(t["weight"] for t in tasks if t["name"].startswith("winograd_product")) == 3
    assert all(task["template"] for task in tasks)


def test_a_kernel_without_a_template_is_said(stack: StackClient, tmp_path: Path) -> None:
    graph = graphs.Graph(1, 18, 6, 6)
    graph.conv(18, 9, groups=9)  # no number of groups has whole blocks
    lowered = stack.lower(graph.save(tmp_path / "m.onnx"), TARGET)
    assert any("no template" in note for note in lowered["notes"])
    known = stack.lower(graphs.stranger(tmp_path / "known.onnx"), TARGET)
    assert not any("no template" in note for note in known["notes"])


def test_a_wrong_record_is_found_set_aside_and_the_next_best_taken(
    stack: StackClient, tmp_path: Path
) -> None:
    """In the second convolution; a record that does not fit is passed over on the way.

    The search itself is tested with fakes, in test_wrong_kernel.
    """
    model, records = graphs.separable(tmp_path / "m.onnx"), tmp_path / "records"
    name = plant(model, records, TARGET, ["good", "wrong"], place=1)
    plant(model, tmp_path / "misfit", TARGET, ["misfit"])
    events: list[tuple[str, dict[str, Any]]] = []
    manifest = stack.build(
        model,
        TARGET,
        [records, tmp_path / "misfit"],
        tmp_path / "out",
        on_event=lambda *e: events.append(e),
    )
    (aside,) = [data for name, data in events if name == "set_aside"]
    assert aside["task"] == name
    assert "differ" in aside["reason"]
    lines = [json.loads(line) for line in (records / "aside.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == [aside["key"]]
    coverage = manifest["coverage"]
    assert coverage["set_aside"][0]["key"] == aside["key"]
    assert manifest["check"]["max_error"] < 1e-4
    # Every task has its good record: the one behind the wrong one was taken.
    assert coverage["tuned"] == coverage["tasks"] == manifest["records"][0]["used"]
    assert (coverage["tuned_share"], coverage["untuned"]) == (1.0, [])
    assert coverage["estimate_us"] > 0


def test_an_artifact_for_another_machine_is_built_unchecked(
    stack: StackClient, tmp_path: Path
) -> None:
    model = graphs.separable(tmp_path / "m.onnx")
    manifest = stack.build(model, targets.load("jetson-nano").to_dict(), [], tmp_path / "out")
    assert "aarch64" in manifest["check"]["skipped"]
    header = (tmp_path / "out" / "model.so").read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    assert header[18] == 0xB7  # EM_AARCH64


def test_real_inputs_take_the_place_of_drawn_ones(stack: StackClient, tmp_path: Path) -> None:
    real = np.random.default_rng(1).standard_normal((4, 3, 20, 20)).astype(np.float32)
    np.savez(tmp_path / "real.npz", x=real)
    manifest = stack.build(
        graphs.separable(tmp_path / "m.onnx"),
        TARGET,
        [],
        tmp_path / "out",
        real_inputs=tmp_path / "real.npz",
    )
    assert manifest["check"]["real_samples"] == 4
    assert manifest["check"]["samples"] == 4


@pytest.fixture(scope="module")
def built(stack: StackClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an artifact ``out`` and its ``m.onnx``."""
    folder = tmp_path_factory.mktemp("built")
    stack.build(graphs.separable(folder / "m.onnx"), TARGET, [], folder / "out")
    return folder


def test_the_profile_accounts_for_the_run(stack: StackClient, built: Path) -> None:
    rows = stack.profile(built / "out", repeats=3)
    assert sum(row["share"] for row in rows) == pytest.approx(1.0)
    assert rows == sorted(rows, key=lambda row: -row["us"])
    assert any("depthwise" in row["kernel"] for row in rows)


def test_plain_tvm_runs_the_library_without_tvmkd(built: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(2).standard_normal((1, 3, 20, 20)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy, tvm\n"
        "from tvm import relax\n"
        "vm = relax.VirtualMachine(tvm.runtime.load_module(sys.argv[1]), tvm.cpu())\n"
        "numpy.save('y.npy', vm['main'](tvm.runtime.tensor(numpy.load('x.npy'))).numpy())\n"
        "assert not [name for name in sys.modules if name.startswith('tvmkd')]\n"
    )
    command = [sys.executable, "-c", code, built / "out/model.so"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    import onnxruntime

    (wanted,) = onnxruntime.InferenceSession(str(built / "m.onnx")).run(None, {"x": x})
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), wanted, atol=1e-5)


def test_load_gives_a_callable_on_numpy(stack: StackClient, tmp_path: Path) -> None:
    model = graphs.shuffle(tmp_path / "m.onnx")
    stack.build(model, TARGET, [], tmp_path / "out")
    x = np.random.default_rng(3).standard_normal((1, 24, 8, 8)).astype(np.float32)
    first, second = tvmkd.load(tmp_path / "out")(x)
    import onnxruntime

    wanted = onnxruntime.InferenceSession(str(model)).run(None, {"x": x})
    np.testing.assert_allclose(first, wanted[0], atol=1e-5)
    np.testing.assert_allclose(second, wanted[1], atol=1e-5)


def test_a_recurrent_layer_is_built_and_leaves_nothing_to_tune(
    stack: StackClient, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(recurrent_models.model("LSTM", given="B", direction="bidirectional"), path)
    lowered = stack.lower(path, TARGET)
    assert [task["kind"] for task in lowered["tasks"]].count("dense") == 1
    assert lowered["notes"] == []
    manifest = stack.build(path, TARGET, [], tmp_path / "out")
    assert manifest["check"]["max_error"] < 1e-4


def test_a_refusal_is_not_also_a_note(stack: StackClient, tmp_path: Path) -> None:
    text = """<ir_version: 9, opset_import: ["" : 18]>
        g (float[2, 3] x) => (int64[2, K] y) { y = NonZero(x) }"""
    path = tmp_path / "nz.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    events: list[str] = []
    with pytest.raises(InputError, match="cannot be a standalone library: ONNX Runtime runs one"):
        stack.build(path, TARGET, [], tmp_path / "out", runtime="standalone",
                    on_event=lambda name, _: events.append(name))  # fmt: skip
    assert "stage" in events
    assert "note" not in events
