"""The benchmark over edge12: its ratios, bars and tables, from results that are made up."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import by_path
import pytest
import samples

sys.path.append(str(by_path.ROOT / "benchmarks"))  # it imports what all benchmarks share
suite: Any = by_path.module("benchmarks/bench_suite.py", "benchmark_of_the_suite")
kernels: Any = sys.modules["_kernels"]


def _row(name: str, **medians: float) -> Any:
    names = {"first": suite.FIRST, "tuned": suite.TUNED, "shipped": suite.SHIPPED}
    engines = [
        samples.engine(names.get(each, each), ms, spread=0.0, seed=1)
        for each, ms in medians.items()
    ]
    return suite.Row(name, {engine.name: engine for engine in engines})


def test_each_network_is_compared_with_its_own_best_peer() -> None:
    a = _row("a", onnxruntime=2.0, openvino=1.0, first=2.0, tuned=1.0)
    b = _row("b", onnxruntime=1.0, openvino=2.0, first=2.0, tuned=0.5)
    a.tuning, b.tuning = {"trials_a_minute": 299.0}, {"trials_a_minute": 300.0}
    found = {result.name: result for result in suite.results([a, b], 300)}
    ratios = {name: round(result.ratio, 6) for name, result in found.items()}
    assert ratios == {
        "geometric mean: tvm, no trial over onnxruntime": round(math.sqrt(2), 6),
        "geometric mean: tvm, tuned over best peer": round(math.sqrt(0.5), 6),
        "a: tvm, no trial over onnxruntime": 1.0,
        "b: tvm, no trial over onnxruntime": 2.0,
        "a: tvm, tuned over openvino": 1.0,
        "b: tvm, tuned over onnxruntime": 0.5,
        "a: trials a minute": 299.0,
        "b: trials a minute": 300.0,
    }
    missed = [name for name, result in found.items() if not result.holds]
    assert missed == [
        "geometric mean: tvm, no trial over onnxruntime",
        "b: tvm, no trial over onnxruntime",
        "a: trials a minute",
    ]
    assert found["a: tvm, tuned over openvino"].ratios == pytest.approx([1.0] * samples.ROUNDS)


def test_how_much_of_the_tuned_speed_the_first_trials_have(tmp_path: Path) -> None:
    tasks = [{"key": "a", "weight": 2}, {"key": "b", "weight": 1}, {"key": "c", "weight": 9}]
    info = {"schema_version": suite.read_info.__globals__["SCHEMA"], "tasks": tasks}
    (tmp_path / "session.json").write_text(json.dumps(info))
    trials = [("a", "ok", 4.0), ("a", "failed", None), ("a", "ok", 2.0), ("b", "ok", 2.0)]
    trials += [("b", "ok", 3.0)] * 15 + [("b", "ok", 1.0)]
    lines = [json.dumps({"task": t, "key": "k", "status": s, "figure": f}) for t, s, f in trials]
    (tmp_path / "trials.jsonl").write_text("\n".join(lines))
    assert suite.shares(tmp_path) == {"guess": 5 / 10, "enough": 5 / 6}
    row = _row("a", onnxruntime=2.0, first=2.0)
    row.tuning = {"trials_a_minute": 300.0, "guess": 0.81, "enough": 0.96}
    found = {result.name: result.holds for result in suite.results([row], 300)}
    assert not found["geometric mean: the first guess of the tuned speed"]
    assert found["geometric mean: 16 trials a kernel of the tuned speed"]


def test_where_tvm_fails_the_bars_are_missed_and_a_peer_that_fails_is_no_best_one() -> None:
    row = _row("a", onnxruntime=2.0)
    row.left_out = {suite.FIRST: "wrong outputs", "mnn": "no such operator"}
    mean, each = suite.results([row], 0)
    assert mean.ratio == each.ratio == math.inf
    assert not mean.holds
    assert each.note == "wrong outputs"
    assert row.best_peer == "onnxruntime"
    head, _, line = suite.milliseconds([row]).splitlines()
    assert head == "| network, ms | onnxruntime | mnn | tvm, no trial |"
    assert line == "| a | **2** | fails | fails |"


def test_networks_are_names_or_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sys_argv, sys.argv = sys.argv, ["bench_suite.py", "--networks", "resnet18", "resnet1"]
    try:
        with pytest.raises(SystemExit):
            suite.main()
    finally:
        sys.argv = sys_argv
    assert "no such network or file: resnet1; known: mobilenet_v3_small" in capsys.readouterr().err


def _kernel(kernel: str, us: float, **more: Any) -> dict[str, Any]:
    return {"kernel": kernel, "us": us, "of_peak": None, "peer_us": None, **more}


def test_kernels_are_added_up_by_kind() -> None:
    rows = [
        _kernel("conv1", 10.0, kind="conv2d", of_peak=0.5, peer_us=20.0),
        _kernel("conv2", 30.0, kind="conv2d", of_peak=0.9),
        _kernel("(between kernels)", 20.0),
        _kernel("packed_func", 40.0),
        _kernel("relu", 100.0, kind="elementwise"),
    ]
    found = {row.pop("kind"): row for row in kernels.by_kind(rows)}
    assert list(found) == ["elementwise", "conv2d", "other kernels", "(between kernels)"]
    assert found["conv2d"] == {
        "kernels": 2,
        "us": 40.0,
        "share": 0.2,
        "of_peak": pytest.approx(0.8),
        "matched_us": 10.0,
        "peer_us": 20.0,
    }
    assert found["elementwise"]["matched_us"] is None
    assert kernels.by_kind([]) == []


def test_edge12_is_twelve_classifiers_and_a_detector() -> None:
    assert len(suite.EDGE12) == 13
    assert {shape for _, shape in suite.EDGE12.values()} == {(1, 3, 224, 224), (1, 3, 320, 320)}
