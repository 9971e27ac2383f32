from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from tvmkd.stages import summary

RESULTS: dict[str, Any] = {
    "distill": {
        "teacher": {"model": "residual", "macs": 30_000_000, "test_accuracy": 0.981},
        "student": {"model": "depthwise", "macs": 1_000_000, "test_accuracy": None},
        "summary": {
            "distilled": {"mean": 0.961, "std": 0.004, "count": 3},
            "baseline": {"mean": 0.947, "std": 0.0, "count": 1},
        },
    },
    "compare": {
        "engines": {
            "onnxruntime": {"p50": 0.2, "p99": 0.3, "ci95": [0.19, 0.21]},
            "tvm": {"p50": 0.1, "p99": 0.25, "ci95": [0.09, 0.11]},
        },
        "left_out": {"torch": "no checkpoint"},
        "verdict": "tvm is fastest",
    },
    "gate": {"passed": False, "checks": [{"requirement": "r", "holds": False, "text": "r: no"}]},
}


def test_accuracies_with_and_without_distillation() -> None:
    assert summary.accuracies(RESULTS) == [
        ("teacher residual", "30.00", "98.10%"),
        ("student depthwise, distilled (3 seeds)", "1.00", "96.10% ± 0.40"),
        ("student depthwise, not distilled (1 seed)", "1.00", "94.70%"),
    ]


def test_latencies_fastest_first_and_the_left_out_named() -> None:
    assert summary.latencies(RESULTS) == [
        ("tvm", "0.100 ms", "0.250 ms"),
        ("onnxruntime", "0.200 ms", "0.300 ms"),
        ("torch", "left out", ""),
    ]


def test_the_end_says_the_gate_and_where_things_are(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("x")
    out = io.StringIO()
    summary.show(RESULTS, tmp_path, Console(file=out, width=100))
    text = out.getvalue()
    for part in ("tvm is fastest", "gate: FAILED", "FAIL  r: no", f"report: {tmp_path}"):
        assert part in text
    assert "artifact:" not in text, "there is none"


def test_a_run_that_stopped_early_shows_what_there_is(tmp_path: Path) -> None:
    out = io.StringIO()
    summary.show({"distill": RESULTS["distill"]}, tmp_path, Console(file=out, width=100))
    assert "98.10%" in out.getvalue()
    assert "latency" not in out.getvalue()
    assert summary.closing({"gate": {"passed": True, "checks": []}}, tmp_path) == [
        "gate: nothing is required"
    ]
