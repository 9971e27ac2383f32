"""The benchmark of int8: its ratios and bars, from results that are made up."""

from __future__ import annotations

import math
import sys
from typing import Any

import by_path
import pytest
import samples

sys.path.append(str(by_path.ROOT / "benchmarks"))  # it imports what all benchmarks share
int8: Any = by_path.module("benchmarks/bench_int8.py", "benchmark_of_int8")

TARGET = "x86-64-v4-vnni"


def _row(name: str, error: float = 0.0, **medians: float) -> Any:
    names = {
        "ort8": int8.engine("int8"),
        "ours8": int8.engine("int8", TARGET),
        "ours32": int8.engine("fp32", TARGET),
    }
    engines = [samples.engine(names[each], ms, spread=0.0, seed=1) for each, ms in medians.items()]
    for each in engines:
        each.relative_error = error if each.name == names["ours8"] else 0.02
    return int8.Row(name, {engine.name: engine for engine in engines})


def test_int8_is_compared_with_the_same_target_s_fp32_and_with_onnx_runtime_s() -> None:
    rows = [
        _row("a", error=0.02, ort8=2.0, ours8=1.0, ours32=2.0),
        _row("b", error=0.025, ort8=1.0, ours8=2.0, ours32=2.5),
    ]
    ratio, peer, error, *each = int8.results(rows, [TARGET])
    assert ratio.ratio == pytest.approx(math.sqrt(0.5 * 0.8))
    assert not ratio.holds
    assert peer.ratio == pytest.approx(1.0)
    assert error.ratio == pytest.approx(0.005)
    assert error.holds
    assert [round(result.ratio, 6) for result in each] == [0.5, 0.8, 0.5, 2.0]
    assert "| a | 2 | 2 | 1 |" in int8.milliseconds(rows)


def test_bars_are_missed_where_int8_was_left_out() -> None:
    row = _row("a", ort8=2.0, ours32=2.0)
    row.left_out = {int8.engine("int8", TARGET): "wrong outputs"}
    ratio, peer, error, *each = int8.results([row], [TARGET])
    assert ratio.ratio == peer.ratio == error.ratio == math.inf
    assert {result.note for result in each} == {"wrong outputs"}
