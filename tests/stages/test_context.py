from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tvmkd import config, targets
from tvmkd.base import machine
from tvmkd.stages.context import RunContext, own_code, package_version

TARGET = targets.load("x86-64-v3")


def context(folder: Path, **sections: Any) -> RunContext:
    cfg = config.parse({"project": {"name": "toy"}, **sections})
    return RunContext(cfg, TARGET, folder)


def test_the_student_is_the_pruned_one_if_it_is_pruned(tmp_path: Path) -> None:
    assert context(tmp_path).student == tmp_path / "student.pt"
    assert context(tmp_path, prune={}).student == tmp_path / "pruned.pt"
    assert context(tmp_path, prune={}).distilled == tmp_path / "student.pt"


def test_each_target_and_stack_has_records_of_its_own(tmp_path: Path) -> None:
    one = context(tmp_path)
    assert one.records == tmp_path / "records" / "x86-64-v3"
    other = context(tmp_path, tune={"stack": "relay"})
    assert other.records == tmp_path / "records" / "x86-64-v3-relay"
    other.target = dataclasses.replace(TARGET, name="board")
    assert other.records == tmp_path / "records" / "board-relay"


def test_the_batch_is_a_free_dimension_if_it_is_left_free(tmp_path: Path) -> None:
    assert context(tmp_path, export={"batch": 4}).dims == {}
    assert context(tmp_path, export={"batch": 4, "dynamic_batch": True}).dims == {"batch": 4}


def test_engines_run_on_the_physical_cores_unless_a_number_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "physical_cores", lambda: 6)
    assert context(tmp_path).threads == 6
    assert context(tmp_path, compare={"threads": 2}).threads == 2
    assert context(tmp_path).timing != context(tmp_path, compare={"threads": 2}).timing


def test_the_teacher_is_the_given_one_or_the_trained_one_or_none(tmp_path: Path) -> None:
    trained, given = tmp_path / "teacher.pt", tmp_path / "given.pt"
    section = {"checkpoint": str(given)}
    assert context(tmp_path).teacher_weights is None
    trained.write_text("weights")
    assert context(tmp_path).teacher_weights == trained
    assert context(tmp_path, teacher=section).teacher_weights is None
    given.write_text("weights")
    assert context(tmp_path, teacher=section).teacher_weights == given
    assert context(tmp_path, distill={"loss": "ce"}).teacher_weights is None


def test_what_is_not_there_has_no_hash(tmp_path: Path) -> None:
    one = context(tmp_path)
    assert one.hash(None) is one.hash(tmp_path / "gone") is None
    file = tmp_path / "m.onnx"
    file.write_text("model")
    alone = one.onnx_hash(file)
    file.with_name("m.onnx.data").write_text("weights")
    assert alone[1] is None
    assert one.onnx_hash(file) == [alone[0], one.hash(tmp_path / "m.onnx.data")]


@pytest.mark.parametrize(
    ("spec", "found"),
    [("mine:net", "mine:net"), ("depthwise", None), ("torchvision:resnet18", None)],
)
def test_code_of_the_user_is_a_module_and_a_callable(spec: str, found: str | None) -> None:
    assert own_code(spec) == found


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert package_version("pytest") == pytest.__version__
    assert package_version("no-package-has-this-name") is None


@pytest.mark.parametrize(
    ("ms", "wanted"),
    [
        ({"tvm int8": 1.0, "tvm fp32": 2.0, "onnxruntime int8": 9.0}, "int8"),
        ({"tvm int8": 2.0, "tvm fp32": 1.0, "onnxruntime int8": 0.5}, "fp32"),
        ({"tvm fp32": 1.0}, "fp32"),  # it could not be built
        ({}, "fp32"),  # before anything was measured
    ],
)
def test_the_faster_precision_is_that_which_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ms: dict[str, float], wanted: str
) -> None:
    monkeypatch.setattr(targets.Target, "runs_here", lambda _: None)
    made = context(tmp_path, quantize={}, export={"precision": "auto"})
    made.results["quantize"] = {"ms": ms}
    assert made.precision == wanted
    fixed = context(tmp_path, quantize={}, export={"precision": "int8"})
    assert fixed.precision == "int8"


@pytest.mark.parametrize(("ok", "wanted"), [(True, "int8"), (False, "fp32")])
def test_where_nothing_can_be_measured_the_target_s_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ok: bool, wanted: str
) -> None:
    monkeypatch.setattr(targets.Target, "runs_here", lambda _: "another machine")
    made = context(tmp_path, quantize={}, export={"precision": "auto"})
    said = {**TARGET.precisions, "int8": targets.Precision(ok, "says so")}
    made.target = dataclasses.replace(TARGET, precisions=said)
    assert made.precision == wanted


def test_what_newer_versions_added_is_no_input_while_it_is_off(tmp_path: Path) -> None:
    off, views = context(tmp_path), context(tmp_path, distill={"views": 2, "ema": 0.5})
    common = {"model", "args", "checkpoint", "backbone"}
    training = {"epochs", "lr", "weight_decay"}
    assert set(RunContext.section_input(off.cfg.teacher)) == {
        *common,
        *training,
        "batch_size",
        "augment",
    }
    assert set(RunContext.section_input(off.cfg.student)) == {*common, "images"}
    loss = {"loss", "loss_args", "alpha", "temperature", "beta", "features", "hard_mining"}
    loss |= {"curriculum", "curriculum_start", "curriculum_full_at", "weight_decay"}
    assert set(off.fine_tuning["distill"]) == loss
    assert set(views.fine_tuning["distill"]) == {*loss, "views"}
    first = {"epochs", "lr", "seeds", "baseline", "watch", "watch_every"}
    first |= {"latency", "latency_weight", "table", "shape", "shaping"}
    assert set(RunContext.section_input(off.cfg.distill)) == loss | first
    assert set(RunContext.section_input(views.cfg.distill)) == {*loss, *first, "views", "ema"}
