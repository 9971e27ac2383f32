from __future__ import annotations

import gc
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_files import onnx_detector, scene

from tvmkd.detection import runtime, timing
from tvmkd.detection.runtime import Detector
from tvmkd.detection.timing import STEPS, Step, Timing


@pytest.fixture
def detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Detector:
    monkeypatch.setattr(timing, "WARM_UP", 0.1)
    return runtime.load(onnx_detector(tmp_path / "d.onnx"), threads=1)


def made(p99: float, budget: float | None, runs: int = 500, settled: bool = True) -> Timing:
    steps = tuple(Step(name, 1.0, 2.0, p99, 20.0, (0.9, 1.1)) for name in STEPS)
    return Timing("ONNX Runtime 1", steps, runs, 2, settled, budget, budget and 3)


@pytest.mark.parametrize(
    ("step", "method"),
    [
        ("pre-processing", "prepare"),
        ("model", "infer"),
        ("decode", "decode"),
        ("NMS", "suppress"),
        ("post-processing", "restore"),
    ],
)
def test_each_step_has_its_own_time(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, step: str, method: str
) -> None:
    original = getattr(detector, method)

    def slow(*arguments: Any) -> Any:
        time.sleep(0.03)
        return original(*arguments)

    monkeypatch.setattr(detector, method, slow)
    found = {each.name: each for each in timing.measure(detector, [scene()], 0.3).steps}
    assert list(found) == list(STEPS)
    in_it = {step, "total"} | ({"post-processing"} if step in ("decode", "NMS") else set())
    assert {name for name, each in found.items() if each.p50 >= 30} == in_it


def test_what_is_measured(detector: Detector) -> None:
    was = gc.isenabled()
    pictures = [scene(), scene(32, 32)]
    found = timing.measure(detector, pictures, 0.3, budget_ms=0.000001)
    assert gc.isenabled() == was
    assert found.runs > timing.LEAST
    assert (found.images, found.over, found.holds) == (2, found.runs, False)
    for step in found.steps:
        assert 0 <= step.p50 <= step.p95 <= step.p99 <= step.worst
        assert step.ci95[0] <= step.p50 <= step.ci95[1]
    by_name = {step.name: step.p50 for step in found.steps}
    assert by_name["total"] > max(by_name["pre-processing"], by_name["model"])
    assert by_name["post-processing"] > max(by_name["decode"], by_name["NMS"])
    generous = timing.measure(detector, pictures[:1], 0.05, budget_ms=1e6)
    assert (generous.over, generous.holds) == (0, True)
    assert timing.measure(detector, pictures[:1], 0.05).holds is None


def test_a_slow_detector_still_gets_a_few_runs(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [np.zeros((8, 8, 3), np.uint8)] * 20
    found = timing.measure(detector, pictures, 1e-9)
    assert (found.runs, found.images) == (5, 5)


def test_the_budget_is_for_the_p99() -> None:
    assert made(p99=30.0, budget=30.0).holds is True
    assert made(p99=30.1, budget=30.0).holds is False
    assert made(p99=30.1, budget=None).holds is None


def test_the_table() -> None:
    lines = made(p99=30.1234, budget=30.0).lines()
    assert lines[0].split() == ["ms", "an", "image", "median", "±", "p95", "p99", "worst"]
    assert [line[:17].strip() for line in lines[1:7]] == list(STEPS)
    assert lines[2].split() == ["model", "1.000", "0.100", "2.000", "30.123", "20.000"]
    assert lines[7:] == [
        "500 runs on 2 images, ONNX Runtime 1",
        "the budget of 30 ms is MISSED: p99 of the total is 30.1 ms; 3 of 500 runs took longer",
    ]
    few = made(p99=29.0, budget=30.0, runs=199, settled=False).lines()
    assert "did not settle" in few[8]
    assert few[9] == "199 runs are few for a p99: take more seconds"
    assert "the budget of 30 ms holds" in few[10]


def test_as_plain_data() -> None:
    data = json.loads(json.dumps(made(p99=31.0, budget=30.0).to_dict()))
    assert data["holds"] is False
    assert data["steps"][0] == {
        "name": "pre-processing",
        "p50": 1.0,
        "p95": 2.0,
        "p99": 31.0,
        "worst": 20.0,
        "ci95": [0.9, 1.1],
    }
