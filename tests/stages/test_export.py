"""What reaches the exporter, the converter and the check, and which file the run continues with."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from toy_run import DISTILLED, context

import tvmkd
from tvmkd import export as exports
from tvmkd.base.errors import InputError
from tvmkd.export import half as halves
from tvmkd.stages.context import RunContext
from tvmkd.stages.export import Export

KNOWN = {"width": 1, "classes": 2}


class Tools:
    """Fakes of all that the stage calls; an exported file holds the name of its checkpoint."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.export = Mock(side_effect=lambda source, out, *_, **__: out.write_text(source.name))
        self.half = Mock(side_effect=lambda source, out, *_: out.write_text("half"))
        self.checked: list[tuple[str, Any]] = []
        self.samples = Mock(side_effect=lambda cfg, count, _: np.arange(count, dtype=np.float32))
        self.arguments = Mock(return_value=KNOWN)
        patch.setitem(vars(exports), "export", self.export)  # looking it up would import torch
        patch.setattr(exports, "check", self._check)
        patch.setattr(halves, "half", self.half)
        patch.setitem(sys.modules, "tvmkd.distill", SimpleNamespace(samples=self.samples))
        patch.setattr(tvmkd, "models", SimpleNamespace(arguments=self.arguments), raising=False)

    def _check(self, path: Path, dims: dict[str, int]) -> Any:
        self.checked.append((path.read_text(), dims))
        return SimpleNamespace(
            inputs=[SimpleNamespace(name="image"), SimpleNamespace(name="size")],
            to_dict=lambda: {"opset": 18},
        )


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Tools:
    return Tools(monkeypatch)


def run(context: RunContext) -> dict[str, Any]:
    return Export(context).run()


def test_the_student_is_exported_as_the_config_says(tools: Tools, tmp_path: Path) -> None:
    section = {"batch": 4, "dynamic_batch": True, "opset": 19}
    made = context(tmp_path, export=section, student={"model": "mine:net"}, prune={})
    found = run(made)
    tools.export.assert_called_once_with(
        tmp_path / "pruned.pt",
        tmp_path / "student.onnx",
        (4, 3, 8, 16),
        dynamic_batch=True,
        opset=19,
        model="mine:net",
        search_in=[tmp_path],
    )
    tools.samples.assert_called_once_with(made.cfg, 8 * 4, [tmp_path])
    assert tools.checked == [("pruned.pt", {"batch": 4})]
    assert found == {"onnx": str(tmp_path / "student.onnx"), "opset": 18, "samples": 32}
    with np.load(made.samples) as saved:
        assert saved.files == ["image"]
        assert saved["image"].tolist() == list(range(32))


def test_a_registered_student_is_rebuilt_from_its_checkpoint(tools: Tools, tmp_path: Path) -> None:
    run(context(tmp_path))
    options = tools.export.call_args.kwargs
    assert (options["model"], options["dynamic_batch"]) == (None, False)
    assert tools.checked[0][1] == {}


def test_full_precision_is_the_exported_file(tools: Tools, tmp_path: Path) -> None:
    made = context(tmp_path)
    run(made)
    tools.half.assert_not_called()
    assert made.onnx.read_text() == "student.pt"
    assert not made.full_precision.exists()


def test_half_precision_is_made_of_a_copy_that_stays(tools: Tools, tmp_path: Path) -> None:
    section = {"precision": "fp16", "keep_fp32": ["head"], "batch": 2, "allow_slow": True}
    made = context(tmp_path, export=section)
    run(made)
    ((source, out, kept, pictures),) = [call.args for call in tools.half.call_args_list]
    assert (source, out, kept) == (made.full_precision, made.onnx, ["head"])
    assert pictures.tolist() == list(range(16)), "the real inputs that are also saved"
    assert made.full_precision.read_text() == "student.pt"
    # The facts are those of the file that is compiled.
    assert tools.checked == [("half", {})]


def test_eight_bits_are_the_file_that_quantisation_made(tools: Tools, tmp_path: Path) -> None:
    made = context(tmp_path, export={"precision": "int8"}, quantize={})
    made.int8.write_text("eight bits")
    weights = tmp_path / "student.onnx.data"
    weights.write_text("of an earlier, larger model")
    run(made)
    tools.half.assert_not_called()
    assert made.onnx.read_text() == made.int8.read_text() == "eight bits"
    assert not weights.exists()
    assert tools.checked == [("eight bits", {})]
    assert not made.full_precision.exists()


def test_an_old_teacher_is_removed_where_there_is_none_now(tools: Tools, tmp_path: Path) -> None:
    made = context(tmp_path, distill={"loss": "ce"})
    (tmp_path / "teacher.pt").write_text("not used by this loss")
    made.teacher_onnx.write_text("old")
    run(made)
    assert tools.export.call_count == 1
    assert not made.teacher_onnx.exists()


def test_a_trained_teacher_is_rebuilt_from_its_checkpoint(tools: Tools, tmp_path: Path) -> None:
    made = context(tmp_path, export={"batch": 2, "dynamic_batch": True, "opset": 19})
    (tmp_path / "teacher.pt").write_text("weights")
    run(made)
    # Its batch is fixed: it is timed at one size only.
    tools.export.assert_called_with(
        tmp_path / "teacher.pt",
        tmp_path / "teacher.onnx",
        (2, 3, 8, 16),
        opset=19,
        model=None,
        model_args=None,
        search_in=[tmp_path],
    )
    assert tools.export.call_count == 2
    tools.arguments.assert_not_called()


def test_a_trained_teacher_of_the_user_is_rebuilt_by_the_users_code(
    tools: Tools, tmp_path: Path
) -> None:
    (tmp_path / "teacher.pt").write_text("weights")
    run(context(tmp_path, teacher={"model": "mine:teacher", "args": {"width": 3}}))
    options = tools.export.call_args.kwargs
    assert (options["model"], options["model_args"]) == ("mine:teacher", None)


@pytest.mark.parametrize(
    ("args", "wanted"),
    [({}, KNOWN), ({"width": 3, "deep": True}, {"width": 3, "classes": 2, "deep": True})],
)
def test_a_given_teacher_is_built_by_name_and_the_configs_arguments_win(
    tools: Tools, tmp_path: Path, args: dict[str, Any], wanted: dict[str, Any]
) -> None:
    given = tmp_path / "given.pt"
    given.write_text("weights")
    section = {"model": "residual", "args": args, "checkpoint": str(given)}
    run(context(tmp_path, teacher=section))
    # Two classes, three channels, and a width of 16 pixels.
    tools.arguments.assert_called_once_with("residual", 2, 3, size=16)
    call = tools.export.call_args
    assert call.args[0] == given
    assert (call.kwargs["model"], call.kwargs["model_args"]) == ("residual", wanted)


def test_only_bad_input_leaves_the_teacher_out(tools: Tools, tmp_path: Path) -> None:
    (tmp_path / "teacher.pt").write_text("weights")
    tools.export.side_effect = [None, RuntimeError("a fault")]
    (tmp_path / "student.onnx").write_text("student")
    with pytest.raises(RuntimeError, match="a fault"):
        run(context(tmp_path))


def check(folder: Path, target: str, **section: Any) -> list[str]:
    return Export(context(folder, target, export=section, quantize={})).check()


@pytest.mark.parametrize(
    ("target", "precision"), [("jetson-nano", "fp16"), ("jetson-nano-gpu", "int8")]
)
def test_a_precision_that_does_not_pay_is_refused_unless_allowed(
    tmp_path: Path, target: str, precision: str
) -> None:
    with pytest.raises(InputError, match=f"^{target}: {precision} does not pay there"):
        check(tmp_path, target, precision=precision)
    (warning,) = check(tmp_path, target, precision=precision, allow_slow=True)
    assert warning.startswith(f"{target}: {precision} does not pay there")


@pytest.mark.parametrize(
    ("target", "precision"),
    [("jetson-nano", "int8"), ("jetson-nano-gpu", "fp16"), ("jetson-nano", "fp32")],
)
def test_a_precision_that_pays_needs_no_permission(
    tmp_path: Path, target: str, precision: str
) -> None:
    assert check(tmp_path, target, precision=precision) == []


def test_full_precision_needs_no_entry_in_the_targets_file(tmp_path: Path) -> None:
    made = context(tmp_path)
    made.target = dataclasses.replace(made.target, precisions={})
    assert Export(made).check() == []


@pytest.mark.parametrize("given", [True, False])
def test_the_teacher_is_an_input_where_there_is_one(tmp_path: Path, given: bool) -> None:
    weights = tmp_path / "given.pt"
    (tmp_path / "mine.py").write_text("net = None")
    section = {"model": "mine:net", "checkpoint": str(weights), "epochs": 3}
    made = context(tmp_path, teacher=section)
    made.student.write_text("student")
    if given:
        weights.write_text("weights")
    read = Export(made).inputs()
    assert read["student"] == made.hash(made.student) is not None
    assert read["teacher"] == (made.hash(weights) if given else None)
    assert ("teacher_code" in read) is ("teacher_model" in read) is given
    if given:
        # Not how it was trained.
        assert read["teacher_model"] == {
            "model": "mine:net",
            "args": {},
            "checkpoint": str(weights),
        }
        assert read["teacher_code"] == made.source("mine:net") is not None


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_full_precision_file_is_an_output_in_half_precision(
    tmp_path: Path, precision: str
) -> None:
    made = context(tmp_path, export={"precision": precision, "allow_slow": True}, quantize={})
    stage = Export(made)
    assert stage.outputs() == [made.onnx, made.samples], "what is not there yet is no output"
    for name in ("teacher.onnx.data", "student-fp32.onnx", "student-int8.onnx"):
        (tmp_path / name).write_text("x")
    wanted = ["teacher.onnx.data", *(["student-fp32.onnx"] if precision == "fp16" else [])]
    assert [path.name for path in stage.outputs()[2:]] == wanted


def test_the_quantised_file_is_an_input_in_eight_bits_only(tmp_path: Path) -> None:
    def read(**section: Any) -> Any:
        made = context(tmp_path, export=section, quantize={})
        made.int8.write_text("eight bits")
        return Export(made).inputs()["int8"]

    assert read() is read(precision="fp16") is None
    assert read(precision="int8") == context(tmp_path).hash(tmp_path / "student-int8.onnx")


def test_the_shape_is_the_datas_and_the_batch_is_the_exports(tools: Tools, tmp_path: Path) -> None:
    assert DISTILLED["data"]["shape"][0] == 1
    run(context(tmp_path, export={"batch": 5}))
    assert tools.export.call_args.args[2] == (5, 3, 8, 16)
