from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from toy_run import context

import tvmkd
from tvmkd.base import console
from tvmkd.stages.distill import Distill


def test_the_config_and_the_targets_channels_reach_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    @contextlib.contextmanager
    def progress() -> Iterator[str]:
        yield "bars"

    metrics = tmp_path / "metrics.json"
    metrics.write_text(json.dumps({"summary": {"a": 1}}), encoding="utf-8")
    fake = Mock(return_value=SimpleNamespace(lines=lambda: ["one", "two"], metrics=metrics))
    monkeypatch.setattr(console, "progress", progress)
    monkeypatch.setattr(tvmkd, "distill", SimpleNamespace(train=fake), raising=False)
    made = context(tmp_path, "jetson-nano")
    assert Distill(made).run() == {"summary": {"a": 1}}
    fake.assert_called_once_with(
        made.cfg, tmp_path, "bars", search_in=[tmp_path], multiple=made.target.channel_multiple
    )
    assert made.target.channel_multiple > 1
    assert capfd.readouterr().err.splitlines() == ["  one", "  two"]


@pytest.mark.parametrize(
    ("model", "rounded"),
    [("depthwise", True), ("mine:net", False), ("torchvision:resnet18", False)],
)
def test_only_a_registered_student_is_rounded_to_the_targets_channels(
    tmp_path: Path, model: str, rounded: bool
) -> None:
    made = context(tmp_path, "jetson-nano", student={"model": model})
    wanted = made.target.channel_multiple if rounded else None
    assert Distill(made).inputs()["multiple"] == wanted


def test_the_thresholds_of_exits_are_no_input_of_the_training(tmp_path: Path) -> None:
    def exits(**section: Any) -> Any:
        return Distill(context(tmp_path, early_exit=section)).inputs()["exits"]

    assert exits(exits=["a"], weight=0.5, max_drop=0.1) == {"exits": ["a"], "weight": 0.5}
    assert Distill(context(tmp_path)).inputs()["exits"] is None


def test_the_teacher_comes_before_the_student(tmp_path: Path) -> None:
    for name in ("t.py", "s.py"):
        (tmp_path / name).write_text(name)
    made = context(tmp_path, teacher={"model": "t:net"}, student={"model": "s:net"})
    teacher, student = Distill(made).inputs()["networks"]
    assert (teacher["section"]["model"], student["section"]["model"]) == ("t:net", "s:net")
    assert teacher["code"] == made.source("t:net") is not None
    assert student["code"] == made.source("s:net") != teacher["code"]


def test_a_teacher_that_the_loss_does_not_use_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "teacher.pt").write_text("an old one")
    made = context(tmp_path, distill={"loss": "ce"})
    assert Distill(made).outputs() == [tmp_path / "student.pt", tmp_path / "metrics.json"]
