"""What single stages make of earlier results, with the work itself replaced."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tvmkd import config, targets
from tvmkd.base.errors import InputError, UsageError
from tvmkd.bench import gate as gates
from tvmkd.bench.schema import Comparison
from tvmkd.stages import build as building
from tvmkd.stages import compare, export, gate, quantize, report
from tvmkd.stages import distill as distilling
from tvmkd.stages import tune as tuning
from tvmkd.stages.context import RunContext


def context(folder: Path, target: str = "x86-64-v3", **sections: Any) -> RunContext:
    cfg = config.parse({"project": {"name": "toy"}, **sections})
    return RunContext(cfg, targets.load(target), folder, [folder])


METRICS: dict[str, Any] = {
    "teacher": {"test_accuracy": 0.98},
    "summary": {"baseline": {"mean": 0.9}, "distilled": {"mean": 0.95}},
    "data": {"shape": [1, 3, 8, 8], "classes": ["a", "b"]},
}


@pytest.mark.parametrize(
    ("engines", "latency"),
    [
        ({"tvm": {"p50": 2.0}, "onnxruntime": {"p50": 1.0}}, 2.0),
        ({"torch": {"p50": 3.0}, "onnxruntime": {"p50": 1.0}}, 1.0),
        ({}, None),
    ],
)
def test_the_report_places_the_student_at_tvm_s_time_or_the_fastest(
    tmp_path: Path, engines: dict[str, Any], latency: float | None
) -> None:
    run = context(tmp_path)
    run.results = {"distill": METRICS, "compare": {"engines": engines, "teacher_ms": 9.0}}
    assert report.Report(run)._accuracy() == [
        {"name": "teacher", "accuracy": 0.98, "latency_ms": 9.0},
        {"name": "student, not distilled", "accuracy": 0.9, "latency_ms": latency},
        {"name": "student", "accuracy": 0.95, "latency_ms": latency},
    ]
    run.results["distill"] = {**METRICS, "teacher": None, "summary": {"baseline": {"mean": 0.9}}}
    (row,) = report.Report(run)._accuracy()
    assert row["name"] == "student, not distilled"


def test_real_inputs_are_split_into_batches(tmp_path: Path) -> None:
    run = context(tmp_path, export={"batch": 3})
    pictures = np.arange(7, dtype=np.float32)[:, None]
    np.savez(run.samples, image=pictures)
    samples = compare.Compare(run)._samples()
    assert [sample["image"].ravel().tolist() for sample in samples] == [[0, 1, 2], [3, 4, 5]]


def test_the_teacher_is_timed_for_a_second_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tvmkd import bench

    asked: list[Any] = []

    def fake(specs: Any, onnx: Path, **options: Any) -> Any:
        asked.append((specs[0].path, onnx, options["options"]))
        return SimpleNamespace(engines=[SimpleNamespace(p50=4.5)])

    monkeypatch.setattr(bench, "compare", fake, raising=False)
    run = context(tmp_path, compare={"seconds": 8.0, "threads": 2})
    assert compare.Compare(run)._time_teacher() is None
    run.teacher_onnx.write_text("teacher")
    assert compare.Compare(run)._time_teacher() == 4.5
    ((path, onnx, options),) = asked
    assert path == onnx == run.teacher_onnx
    assert (options.threads, options.seconds) == (2, 1.0)


@pytest.mark.parametrize("holds", [True, False])
def test_the_gate_passes_if_every_requirement_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: bool
) -> None:
    def check(text: str, good: bool) -> gates.Check:
        return gates.Check(requirement=text, holds=good, text=text)

    monkeypatch.setattr(Comparison, "load", lambda path: None)
    monkeypatch.setattr(
        gates, "evaluate", lambda _, required: [check(required[0], True), check("b", holds)]
    )
    stage = gate.Gate(context(tmp_path, gate={"require": ["tvm.p50 < 1s"]}))
    assert stage.run() == {
        "passed": holds,
        "checks": [
            {"requirement": "tvm.p50 < 1s", "holds": True, "text": "tvm.p50 < 1s"},
            {"requirement": "b", "holds": holds, "text": "b"},
        ],
    }
    assert stage.outputs() == []


def test_a_requirement_that_is_no_expression_is_found_before_the_run(tmp_path: Path) -> None:
    assert gate.Gate(context(tmp_path, gate={"require": ["tvm.p50 < 1s"]})).check() == []
    with pytest.raises(UsageError, match="gate: "):
        gate.Gate(context(tmp_path, gate={"require": ["tvm.p50 <<"]})).check()


def test_eight_bits_where_they_do_not_pay_take_a_word(tmp_path: Path) -> None:
    def check(**section: Any) -> list[str]:
        return quantize.Quantize(context(tmp_path, "jetson-nano-gpu", quantize=section)).check()

    with pytest.raises(InputError, match="int8 does not pay there"):
        check()
    (warning,) = check(allow_slow=True)
    assert "int8 does not pay there" in warning


@pytest.mark.parametrize(("size", "forced"), [(None, False), ("1", False), ("2", True)])
def test_a_training_of_several_processes_is_never_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str | None, forced: bool
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if size is not None:
        monkeypatch.setenv("WORLD_SIZE", size)
    assert distilling.Distill(context(tmp_path)).forced is forced


def test_a_teacher_that_was_trained_is_an_output_and_a_given_one_is_not(tmp_path: Path) -> None:
    run = context(tmp_path)
    assert distilling.Distill(run).outputs() == [run.distilled, run.metrics]
    (tmp_path / "teacher.pt").write_text("weights")
    assert distilling.Distill(run).outputs()[2:] == [tmp_path / "teacher.pt"]
    (tmp_path / "given.pt").write_text("weights")
    given = context(tmp_path, teacher={"checkpoint": str(tmp_path / "given.pt")})
    assert distilling.Distill(given).outputs() == [run.distilled, run.metrics]


def test_weights_beside_an_onnx_file_are_an_output_too(tmp_path: Path) -> None:
    run = context(tmp_path)
    stage = export.Export(run)
    assert stage.outputs() == [run.onnx, run.samples]
    for name in ("teacher.onnx", "student.onnx.data"):
        (tmp_path / name).write_text("x")
    assert stage.outputs()[2:] == [run.teacher_onnx, tmp_path / "student.onnx.data"]


def test_what_a_build_sets_aside_is_no_output_of_tuning(tmp_path: Path) -> None:
    run = context(tmp_path)
    names = ("database_workload.json", "database_tuning_record.json", "session.json")
    run.records.mkdir(parents=True)
    for name in (*names, "trials.jsonl", "aside.jsonl"):
        (run.records / name).write_text("{}\n")
    found = {path.name for path in tuning.Tune(run).outputs()}
    assert found == {*names, "trials.jsonl"}


@pytest.mark.parametrize("both", [True, False])
def test_an_untuned_artifact_is_built_for_a_comparison_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, both: bool
) -> None:
    calls: list[tuple[list[Path], Path, bool]] = []
    manifest = {
        "coverage": {"tasks": 0, "tuned": 0, "tuned_share": 1.0, "untuned": [], "set_aside": []},
        "records": [],
        "check": {"skipped": "a test"},
    }

    def fake(onnx: Path, target: Any, records: list[Path], out: Path, **options: Any) -> Any:
        calls.append((records, out, options["shipped"]))
        return manifest

    monkeypatch.setattr("tvmkd.stacks.compile.build", fake)
    engines = ["tvm", "tvm:untuned"] if both else ["tvm"]
    run = context(tmp_path, compare={"engines": engines})
    stage = building.Build(run)
    assert stage.run() == {"coverage": manifest["coverage"], "check": manifest["check"]}
    wanted = [([run.records], run.artifact, True), ([], run.untuned, False)]
    assert calls == wanted[: 1 + both]
    assert stage.outputs() == [run.artifact, run.untuned][: 1 + both]


@pytest.mark.parametrize(("tracker", "address"), [("local", None), ("boards:1", ("boards", 1))])
def test_tuning_is_asked_for_what_the_config_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str, address: Any
) -> None:
    calls: list[dict[str, Any]] = []

    def fake(onnx: Path, target: Any, records: Path, **options: Any) -> dict[str, Any]:
        calls.append({"records": records, **options})
        return {"trials": 4}

    monkeypatch.setattr("tvmkd.stacks.compile.tune", fake)
    section = {"tracker": tracker, "key": "nano", "trials": 4, "seed": 3, "boards": 2}
    run = context(tmp_path, tune=section, export={"batch": 2, "dynamic_batch": True})
    assert tuning.Tune(run).run() == {"trials": 4}
    (call,) = calls
    call.pop("on_event")
    assert call == {
        "records": run.records,
        "tracker": address,
        "key": "nano",
        "trials": 4,
        "seed": 3,
        "boards": 2,
        "dims": {"batch": 2},
        "stack": "relax",
    }


def test_a_teacher_that_cannot_be_exported_is_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The student is exported all the same, and an old teacher's file is gone."""
    from tvmkd import export as exports

    asked: list[tuple[str, Any]] = []

    def fake(source: Path, out: Path, shape: Any, **options: Any) -> Path:
        asked.append((source.name, shape))
        if out.name == "teacher.onnx":
            raise InputError("no such operator")
        return out

    info = SimpleNamespace(
        inputs=[SimpleNamespace(name="image")], to_dict=lambda: {"opset": 18, "path": "p"}
    )
    monkeypatch.setitem(vars(exports), "export", fake)  # looking it up would import torch
    monkeypatch.setattr(exports, "check", lambda path, dims: info)
    fakes = SimpleNamespace(samples=lambda cfg, count, *_: np.zeros((count, 3, 8, 8)))
    monkeypatch.setitem(sys.modules, "tvmkd.distill", fakes)
    run = context(tmp_path, export={"batch": 2})
    run.results = {"distill": METRICS}
    (tmp_path / "teacher.pt").write_text("weights")
    run.teacher_onnx.write_text("old")
    found = export.Export(run).run()
    assert (found["opset"], found["samples"]) == (18, 16)
    assert asked == [("student.pt", (2, 3, 8, 8)), ("teacher.pt", (2, 3, 8, 8))]
    assert not run.teacher_onnx.exists()
    with np.load(run.samples) as saved:
        assert saved["image"].shape == (16, 3, 8, 8)
    assert "warning: the teacher is not timed: no such operator" in capfd.readouterr().err
