"""The benchmark of ONNX's node tests: what it compares, and a sample of it."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace
from typing import Any

import by_path
import numpy as np
import pytest
from onnx import TensorProto, helper

sys.path.append(str(by_path.ROOT / "benchmarks"))  # it imports what all benchmarks share
bench: Any = by_path.module("benchmarks/bench_onnx.py", "benchmark_of_node_tests")


def test_there_are_as_many_plain_tests_as_the_bar_counts() -> None:
    names = bench.cases()
    assert len(names) >= 1404
    assert not [name for name in names if "_expanded" in name]


def test_all_but_the_first_input_become_constants() -> None:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xyz"]
    model = helper.make_model(helper.make_graph([], "g", inputs, []))
    data = [np.full(2, 0, np.float32), np.full(2, 1, np.float32), np.float32(2)]
    case = SimpleNamespace(model=model, data_sets=[(data, [data[0]])])
    made, arrays, outputs = bench.prepared(case)
    assert [entry.name for entry in made.graph.input] == ["x"]
    assert [tensor.name for tensor in made.graph.initializer] == ["y", "z"]
    assert list(made.graph.initializer[1].dims) == []
    assert list(arrays) == ["x"]
    assert len(outputs) == 1
    assert len(model.graph.input) == 3
    model.ir_version = 3
    assert bench.prepared(case)[0].ir_version == 4


ONE = np.array([0, 1, 100], np.float32)


@pytest.mark.parametrize(
    ("want", "got", "text"),
    [
        (ONE, ONE, None),
        (ONE, ONE + np.float32(0.005), None),
        (ONE, ONE + np.float32(0.05), "differs by"),
        (ONE, ONE.astype(np.float64), "expected float32"),
        (ONE, ONE[None], r"expected float32\(3,\)"),
        (np.array([np.nan, 1]), np.array([np.nan, 1]), None),
        (np.array([np.nan, 1]), np.array([1, 1.0]), "NaN or infinity"),
        (np.array([1, 1.0]), np.array([np.nan, 1]), "NaN or infinity"),
        (np.array([3]), np.array([4]), "other values"),
        (np.array([], np.float32), np.array([], np.float32), None),
    ],
)
def test_outputs_are_compared_with_their_dtypes(
    want: np.ndarray, got: np.ndarray, text: str | None
) -> None:
    found = bench.difference(want, got)
    if text is None:
        assert found is None
    else:
        assert found is not None
        assert re.search(text, found)


def test_the_table_puts_first_what_is_not_right() -> None:
    rows = [
        {"operator": "Add", "end": "right", "why": ""},
        {"operator": "Add", "end": "right", "why": "by ONNX Runtime"},
        {"operator": "Zip", "end": "wrong", "why": "differs"},
    ]
    lines = [[cell.strip() for cell in line.split("|")] for line in bench.table(rows).splitlines()]
    heads = ["operator", "right", "by ONNX Runtime", "refused", "as ONNX Runtime", "unclear"]
    assert lines[0][1:8] == [*heads, "wrong"]
    assert [line[1:8] for line in lines[2:]] == [
        ["Zip", "", "", "", "", "", "1"],
        ["Add", "2", "1", "", "", "", ""],
    ]


def test_what_onnx_runtime_gives_too_is_told_apart(tmp_path: Any) -> None:
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
    )  # fmt: skip
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph, ir_version=9).SerializeToString())
    assert bench.alike(path, {"x": ONE}, [-ONE])
    assert not bench.alike(path, {"x": ONE}, [ONE])
    assert not bench.alike(path, {}, [-ONE])


def test_a_sample_goes_through_the_whole_door() -> None:
    names = {
        "test_gru_defaults": "right",
        "test_nonmaxsuppression_two_classes": "right",
        "test_top_k": "right",
        "test_reduce_log_sum_exp_default_axes_keepdims_example": "right",
        "test_split_to_sequence_1": "refused",
    }
    rows = bench.measure(list(names), "relax", tell=lambda line: None)
    assert {row["name"]: row["end"] for row in rows} == names, rows
