"""What is measured for a profile, and with what."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from test_kernel_profile import LIMITS, PEERS, ROWS

from tvmkd.base import files
from tvmkd.base.errors import InputError
from tvmkd.bench import profiling

SPEC = {"name": "x", "shape": [1, 2], "dtype": "float32"}


def test_the_artifact_and_onnx_runtime_get_the_same_input_and_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def kernel_times(*args: Any, **options: Any) -> Any:
        asked["kernels"] = (args, options)
        return ROWS

    def node_times(*args: Any) -> Any:
        asked["nodes"] = args
        return PEERS

    def limits(threads: int) -> Any:
        asked["threads"] = threads
        return LIMITS

    manifest = SimpleNamespace(
        inputs=[SimpleNamespace(name="x", model_dump=lambda: SPEC)], onnx_sha256=""
    )
    monkeypatch.setattr(profiling.artifacts, "read", lambda folder: manifest)
    monkeypatch.setattr(profiling, "kernel_times", kernel_times)
    monkeypatch.setattr(profiling.node_times, "measure", node_times)
    monkeypatch.setattr(profiling.roofline, "measure", limits)
    monkeypatch.setattr(profiling.machine, "physical_cores", lambda: 3)
    nodes = [helper.make_node("Neg", ["x"], [f"t{i}"], name=f"n{i}") for i in (1, 2, 3)]
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2])]
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", inputs, [])), str(path))
    with pytest.raises(InputError, match="another file than"):
        profiling.measure(path, Path("out"), None, 7)
    assert asked == {}
    manifest.onnx_sha256 = files.sha256(path)
    found, peers = profiling.measure(path, Path("out"), None, 7)
    assert peers == PEERS
    assert asked["kernels"] == ((Path("out"), None), {"onnx": path, "repeats": 7})
    file, sample, threads, runs = asked["nodes"]
    assert (file, threads, runs, asked["threads"]) == (path, 3, 7, 3)
    assert sample["x"].shape == (1, 2)
    assert found.kernels[0].peer_us == 7.0
    real = np.array([[5.0, 6.0]], np.float32)
    np.savez(tmp_path / "real.npz", x=real)
    profiling.measure(path, Path("out"), tmp_path / "real.npz", 7)
    np.testing.assert_array_equal(asked["nodes"][1]["x"], real)
    other = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("y", 1, [1, 2])], [])
    onnx.save(helper.make_model(other), str(path))
    with pytest.raises(InputError, match="another model"):
        profiling.measure(path, Path("out"), None, 7)
