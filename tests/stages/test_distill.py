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
from tvmkd.base.errors import MissingError, UsageError
from tvmkd.stages.context import RunContext
from tvmkd.stages.distill import Distill, train


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


SHAPED = {"latency": "table", "latency_weight": 0.5}


def test_the_table_is_looked_for_before_anything_is_trained(tmp_path: Path) -> None:
    stage = Distill(context(tmp_path, distill=SHAPED))
    with pytest.raises(MissingError, match="tvmkd latency table"):
        stage.check()
    given = context(tmp_path, distill=SHAPED, student={"checkpoint": "given.pt"})
    assert Distill(given).check() == [], "nothing is trained"
    assert Distill(context(tmp_path, distill={"latency": "table"})).check() == []


def test_a_watch_needs_a_place_to_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="jetson-nano does not run on this machine"):
        Distill(context(tmp_path, "jetson-nano", distill={"watch": "8ms"})).check()


def test_another_table_or_compiler_shapes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunContext, "building", property(lambda self: {"tvm": version}))
    version = "1"
    table = tmp_path / "search" / "table"
    table.mkdir(parents=True)
    (table / "records").write_text("one")
    before = Distill(context(tmp_path, distill=SHAPED)).key()
    plain = Distill(context(tmp_path)).key()
    (table / "records").write_text("two")
    changed = Distill(context(tmp_path, distill=SHAPED)).key()
    version = "2"
    again = Distill(context(tmp_path, distill=SHAPED)).key()
    assert len({before, changed, again}) == 3
    assert Distill(context(tmp_path)).key() == plain, "it reads neither"


def test_a_watch_reads_the_compiler_and_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunContext, "building", property(lambda self: {"tvm": "1"}))
    keys = {
        Distill(context(tmp_path, distill={"watch": watch}, tune=tune)).key()
        for watch in ("8ms", "9ms")
        for tune in ({}, {"tracker": "boards:9190"}, {"tracker": "boards:9190", "key": "nano"})
    }
    assert len(keys) == 6


def test_the_shaper_and_the_watch_reach_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished, opened = [], []
    watch = SimpleNamespace(finish=finished.append, while_shaping="while shaping")

    @contextlib.contextmanager
    def open_watch(*args: Any) -> Iterator[Any]:
        opened.append(args)
        yield watch

    @contextlib.contextmanager
    def open_shaper(*args: Any) -> Iterator[Any]:
        opened.append(args)
        yield "shaper"

    fake = SimpleNamespace(train=Mock(return_value="result"), make_task=lambda *_: "task")
    monkeypatch.setattr(tvmkd, "distill", fake, raising=False)
    monkeypatch.setattr("tvmkd.search.watch.opening.open_watch", open_watch)
    monkeypatch.setattr("tvmkd.search.soft.opening.open_shaper", open_shaper)
    made = context(tmp_path, distill={**SHAPED, "watch": "8ms"})
    given = (made.cfg, made.target, tmp_path, [tmp_path])
    assert train(*given, "bars", [Path("records")], "code") == "result"  # type: ignore[arg-type]
    records = [Path("records"), tmp_path / "search" / "table"]
    assert opened == [
        (made.cfg, made.target, tmp_path, "task", records, "code"),
        (made.cfg, made.target, tmp_path, "bars", "while shaping"),
    ]
    fake.train.assert_called_once_with(
        made.cfg,
        tmp_path,
        "bars",
        search_in=[tmp_path],
        multiple=made.target.channel_multiple,
        task="task",
        shaper="shaper",
        after_checkpoint=watch,
    )
    assert finished == ["result"]
    monkeypatch.setenv("RANK", "1")
    train(*given)
    assert finished == ["result"], "another process of the team"
