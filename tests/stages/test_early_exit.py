from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from toy_run import context

import tvmkd
from tvmkd.stages.context import RunContext
from tvmkd.stages.early_exit import EarlyExit


@pytest.mark.parametrize("again", [True, False])
def test_the_student_and_the_data_reach_the_calibration(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    again: bool,
) -> None:
    found = {"thresholds": [0.5]}
    produce = Mock(return_value=found)
    lines = Mock(return_value=["one", "two"])
    load = Mock(return_value="splits")
    room = SimpleNamespace(produce=SimpleNamespace(produce=produce, lines=lines))
    monkeypatch.setitem(sys.modules, "tvmkd.early_exit", room)
    monkeypatch.setattr(tvmkd, "data", SimpleNamespace(load=load), raising=False)
    made = context(
        tmp_path,
        early_exit={"exits": ["a"]},
        compare={"threads": 3},
        tune={"stack": "relay"},
    )
    folder = tmp_path / "early-exit"
    if again:
        folder.mkdir()
    assert EarlyExit(made).run() == found
    load.assert_called_once_with(made.cfg.data)
    produce.assert_called_once_with(
        tmp_path / "student.pt",
        "splits",
        made.cfg.early_exit,
        made.target,
        folder,
        threads=3,
        stack="relay",
    )
    assert folder.is_dir()
    lines.assert_called_once_with(found)
    assert capfd.readouterr().err.splitlines() == ["  one", "  two"]


def test_of_the_section_only_the_accepted_loss_is_an_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunContext, "building", property(lambda self: "building"))
    made = context(tmp_path, early_exit={"exits": ["a"], "weight": 0.5, "max_drop": 0.125})
    made.student.write_text("student")
    read = EarlyExit(made).inputs()
    assert (read["max_drop"], read["threads"]) == (0.125, made.threads)
    assert read["student"] == made.hash(made.student) is not None
    # Names and weights of the exits change the student.
    assert set(read) == {"student", "max_drop", "data", "building", "threads"}
    budget = {"exits": ["a"], "mean_budget": "250us"}
    other = context(tmp_path, early_exit=budget)
    assert EarlyExit(other).inputs()["mean_budget"] == 0.25
    assert EarlyExit(made).outputs() == [tmp_path / "early-exit" / "exits"]
