"""What reaches the build of the tuned artifact, and of the one without tuning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from toy_run import context

from tvmkd.base.errors import InputError
from tvmkd.stacks import compile as compiling
from tvmkd.stacks import progress
from tvmkd.stages.build import Build
from tvmkd.stages.context import RunContext
from tvmkd.tuning.records import LOG


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """The build, which returns a manifest with the name of the folder that it wrote."""

    @contextlib.contextmanager
    def following(text: str) -> Iterator[str]:
        yield text

    def made(onnx: Path, target: Any, records: Any, out: Path, **_: Any) -> dict[str, Any]:
        return {"coverage": f"of {out.name}", "check": f"check of {out.name}", "records": []}

    monkeypatch.setattr(progress, "following", following)
    monkeypatch.setattr(progress, "coverage_lines", lambda manifest: [manifest["coverage"]])
    fake = Mock(side_effect=made)
    monkeypatch.setattr(compiling, "build", fake)
    return fake


@pytest.mark.parametrize("both", [True, False])
def test_the_tuned_artifact_has_the_records_and_the_other_none(
    build: Mock, tmp_path: Path, capfd: pytest.CaptureFixture[str], both: bool
) -> None:
    made = context(
        tmp_path,
        "jetson-nano",
        compare={"engines": ["tvm", *(["tvm:untuned"] if both else [])]},
        export={"batch": 2, "dynamic_batch": True},
        tune={"stack": "relay"},
    )
    stage = Build(made)
    folders = [tmp_path / "artifact", tmp_path / "artifact-untuned"]
    assert stage.outputs() == folders[: 1 + both]
    assert stage.run() == {"coverage": "of artifact", "check": "check of artifact"}
    common = {
        "inputs": made.samples,
        "dims": {"batch": 2},
        "stack": "relay",
        "on_event": "building for jetson-nano",
    }
    tuned, *untuned = build.call_args_list
    assert tuned.args == (made.onnx, made.target, [made.records], tmp_path / "artifact")
    assert tuned.kwargs == {**common, "shipped": True}
    assert [call.args[2:] for call in untuned] == [([], tmp_path / "artifact-untuned")] * both
    assert [call.kwargs for call in untuned] == [{**common, "shipped": False}] * both
    assert capfd.readouterr().err.splitlines() == ["  of artifact"]


def test_the_records_and_the_trials_are_inputs_and_what_the_build_sets_aside_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunContext, "building", property(lambda self: "building"))
    made = context(tmp_path)
    for path in (made.onnx, made.samples):
        path.write_text(path.name)
    made.records.mkdir(parents=True)
    names = ("database_workload.json", "database_tuning_record.json", "session.json")
    for name in (*names, "trials.jsonl", "aside.jsonl"):
        (made.records / name).write_text(name)
    before = Build(made).inputs()
    assert before["records"] == [made.hash(made.records / n) for n in (*names, "trials.jsonl")]
    assert before["onnx"] == [made.hash(made.onnx), None] != [None, None]
    assert before["samples"] == made.hash(made.samples) is not None
    assert (before["building"], before["dims"], before["untuned"]) == ("building", {}, True)
    (made.records / "aside.jsonl").write_text("changed")
    assert Build(made).inputs() == before
    # Without records the two others are still looked for.
    for name in (*names, "trials.jsonl"):
        (made.records / name).unlink()
    assert Build(made).inputs()["records"] == [None, None]


def test_other_records_reach_the_tuned_artifact_and_its_inputs(build: Mock, tmp_path: Path) -> None:
    table = tmp_path / "table"
    table.mkdir()
    made = context(tmp_path, "jetson-nano", tune={"stack": "relay", "records": [str(table)]})
    stage = Build(made)
    with pytest.raises(InputError, match=r"\[tune\] records: .*table: holds no tuning records"):
        stage.check()
    (table / LOG).write_text("{}\n")
    assert stage.check() == []
    before = stage.inputs()["records"]
    (table / LOG).write_text("{}\n{}\n")
    assert stage.inputs()["records"] != before
    stage.run()
    assert build.call_args_list[0].args[2] == [made.records, table]
    assert all(call.args[2] == [] for call in build.call_args_list[1:])
