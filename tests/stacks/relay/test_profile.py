"""Times of kernels one by one, with fakes of the artifact and of the debug executor."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_tvm
import numpy as np
import pytest

from tvmkd import artifact
from tvmkd.base.errors import InputError

MODULE = "tvmkd.stacks.relay.profile"
GRAPH = {
    "nodes": [
        {"op": "null", "name": "x"},
        {"op": "tvm_op", "attrs": {"func_name": "conv"}},
        {"op": "tvm_op", "attrs": {"func_name": "pool"}},
        {"op": "null", "name": "weight"},
        {"op": "tvm_op", "attrs": {"func_name": "conv"}},
    ]
}
# Seconds of each node of the graph; inputs have none.
TIMES = [[0.0, 0.0, 0.0], [1e-6, 9e-6, 2e-6], [5e-6, 5e-6, 5e-6], [0.0, 0.0, 0.0], [3e-6] * 3]


class Library:
    """A library of a graph executor, and what it is asked."""

    type_key = "GraphExecutorFactory"

    def __init__(self) -> None:
        self.inputs: dict[str, np.ndarray] = {}
        self.runs: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return {
            "get_graph_json": lambda: json.dumps(GRAPH),
            "debug_create": lambda name, device: f"{name} on {device}",
        }[name]

    def debugged(self, executor: str, devices: list[str], graph: str, _: None) -> Library:
        assert (executor, devices) == ("default on cpu", ["cpu"])
        assert json.loads(graph) == GRAPH
        return self

    def set_input(self, name: str, value: np.ndarray) -> None:
        self.inputs[name] = value

    def run_individual(self, **options: Any) -> list[list[float]]:
        self.runs = options
        return TIMES


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    runtime = SimpleNamespace(load_module=lambda path: made)
    fake_tvm.install(
        monkeypatch,
        tvm={
            "cpu": lambda: "cpu", "runtime": runtime, "nd": SimpleNamespace(array=lambda a: a),
        },
        tvm__contrib={},
        tvm__contrib__debugger={},
        tvm__contrib__debugger__debug_executor={"GraphModuleDebug": made.debugged},
    )  # fmt: skip
    spec = {"name": "x", "shape": [1, 2], "dtype": "float32"}
    facts = {"conv": {"key": "0x1", "kind": "conv2d", "flop": 3e4}}
    manifest = SimpleNamespace(
        inputs=[SimpleNamespace(model_dump=lambda: spec)], coverage={"kernels": facts}
    )
    monkeypatch.setattr(
        artifact, "read_with_library", lambda folder: (manifest, folder / "model.so")
    )
    monkeypatch.setattr(artifact, "check_machine", lambda manifest, folder: None)
    # Imported with the fakes, for this test only.
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return made


@pytest.fixture
def profile(library: Library, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = importlib.import_module(MODULE)
    monkeypatch.setitem(sys.modules, MODULE, module)
    return module.profile


def test_calls_of_one_kernel_are_one_row_slowest_first(library: Library, profile: Any) -> None:
    conv, pool = profile(Path("out"), None, 3)
    assert conv == {
        "kernel": "conv",
        "task_key": "0x1",
        "calls": 2,
        "us": pytest.approx(5.0),  # the medians 2 and 3
        "share": pytest.approx(0.5),
        "places": [0, 2],
        "kind": "conv2d",
        "flop": 3e4,
        "gflops": pytest.approx(2 * 3e4 / 5.0 / 1e3),
    }
    assert (pool["kernel"], pool["task_key"], pool["places"]) == ("pool", None, [1])
    assert (pool["us"], pool["share"]) == (pytest.approx(5.0), pytest.approx(0.5))
    assert "gflops" not in pool
    assert library.runs == {"number": 1, "repeat": 3, "min_repeat_ms": 0}


def test_real_inputs_are_set_where_there_are_some(
    library: Library, profile: Any, tmp_path: Path
) -> None:
    profile(Path("out"), None, 1)
    assert library.inputs["x"].shape == (1, 2)
    real = np.array([[1, 2], [3, 4]], np.float32)
    np.savez(tmp_path / "real.npz", x=real)
    profile(Path("out"), tmp_path / "real.npz", 1)
    np.testing.assert_array_equal(library.inputs["x"], real[:1])


def test_a_library_of_a_virtual_machine_is_refused(library: Library, profile: Any) -> None:
    library.type_key = "VMExecutable"
    with pytest.raises(InputError, match="out: a virtual machine runs it, since its shapes depend"):
        profile(Path("out"), None, 1)


def test_a_kernel_without_a_time_is_not_passed_over(
    library: Library, profile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "run_individual", lambda **_: TIMES[:-1])
    with pytest.raises(ValueError, match="zip"):
        profile(Path("out"), None, 1)
