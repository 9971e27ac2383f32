"""ONNX Runtime's profile, read and made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tvmkd.bench import node_times


def event(name: str, dur: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "dur": dur, "cat": "Node", "args": {"op_name": "Relu"}, **more}


def test_the_median_leaves_the_first_quarter_out() -> None:
    found = node_times.rows(
        [event("r_kernel_time", us) for us in (100, 3, 1, 2)]
        + [event("r_fence_before", 9), {"name": "session", "dur": 1, "cat": "Session"}]
    )
    assert found == [{"name": "r", "op": "Relu", "us": 2.0}]


def test_a_model_is_profiled_in_a_process(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    node = helper.make_node("Neg", ["x"], ["y"], name="negated")
    graph = helper.make_graph(
        [node], "g", [value("x", TensorProto.FLOAT, [4])], [value("y", TensorProto.FLOAT, [4])]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(tmp_path / "m.onnx"))
    found = node_times.measure(tmp_path / "m.onnx", {"x": np.ones(4, np.float32)}, 1, runs=4)
    assert [(row["name"], row["op"]) for row in found] == [("negated", "Neg")]
