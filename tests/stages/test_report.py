"""Which results the page gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from toy_run import DISTILLED, context

from tvmkd import report
from tvmkd.bench.schema import Comparison
from tvmkd.stacks import progress
from tvmkd.stages.report import Report

COMPARED: dict[str, Any] = {"engines": {"tvm": {"p50": 2.0}}, "teacher_ms": 9.0}


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch) -> Mock:
    fake = Mock()
    monkeypatch.setattr(report, "write", fake)
    monkeypatch.setattr(Comparison, "load", lambda path: ("comparison", path))
    monkeypatch.setattr(progress, "kernels", lambda folder, inputs: [{"kernel": (folder, inputs)}])
    return fake


@pytest.mark.parametrize("tuned", [True, False])
def test_every_result_reaches_the_page(write: Mock, tmp_path: Path, tuned: bool) -> None:
    made = context(tmp_path)
    made.results["compare"] = COMPARED
    made.records.mkdir(parents=True)
    (made.records / ("trials.jsonl" if tuned else "session.json")).write_text("{}")
    page = tmp_path / "report.html"
    assert Report(made).run() == {"path": str(page)}
    write.assert_called_once_with(
        page,
        ("comparison", tmp_path / "comparison.json"),
        accuracy=Report(made)._accuracy(),
        metric="accuracy",
        records_dir=made.records if tuned else None,
        kernels=[{"kernel": (tmp_path / "artifact", tmp_path / "inputs.npz")}],
        metadata={"target": made.target.description, "run": "toy"},
    )
    assert Report(made).outputs() == [page]


def test_the_metric_is_the_tasks(write: Mock, tmp_path: Path) -> None:
    made = context(tmp_path)
    made.results = {"distill": {**DISTILLED, "metric": "mAP"}, "compare": COMPARED}
    Report(made).run()
    assert write.call_args.kwargs["metric"] == "mAP"


def test_a_teacher_without_a_score_is_left_out(tmp_path: Path) -> None:
    made = context(tmp_path)
    unscored = {**DISTILLED, "teacher": {"test_accuracy": None}}
    made.results = {"distill": unscored, "compare": COMPARED}
    names = [row["name"] for row in Report(made)._accuracy()]
    assert names == ["student, not distilled", "student"]
    made.results["distill"] = {**DISTILLED, "teacher": {"test_accuracy": 0.0}}
    assert Report(made)._accuracy()[0] == {"name": "teacher", "accuracy": 0.0, "latency_ms": 9.0}


def test_without_tvm_the_student_is_at_the_fastest_engines_time(tmp_path: Path) -> None:
    made = context(tmp_path)
    engines = {"torch": {"p50": "10.0"}, "onnxruntime": {"p50": "9.0"}, "tensorrt": {"p50": "9.5"}}
    made.results["compare"] = {"engines": engines, "teacher_ms": None}
    teacher, *students = Report(made)._accuracy()
    assert teacher["latency_ms"] is None
    assert [row["latency_ms"] for row in students] == ["9.0", "9.0"], "by number, not by text"


def test_the_comparison_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = context(tmp_path)
    monkeypatch.setattr(type(made), "compiler", property(lambda self: {"tvm": "1"}))
    assert Report(made).inputs()["compare"] is None
    made.results["compare"] = COMPARED
    assert Report(made).inputs()["compare"] == COMPARED
