from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from toy_run import context

from tvmkd.stages.context import RunContext
from tvmkd.stages.prune import Prune


def test_the_config_the_target_and_the_folder_reach_the_pruning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Mock(return_value={"kept": 0.5})
    monkeypatch.setitem(sys.modules, "tvmkd.prune.pruning", SimpleNamespace(prune=fake))
    made = context(tmp_path, prune={})
    assert Prune(made).run() == {"kept": 0.5}
    fake.assert_called_once_with(made.cfg, made.target, tmp_path, search_in=[tmp_path])


def test_the_pruned_student_is_made_of_the_distilled_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunContext, "building", property(lambda self: "building"))
    made = context(tmp_path, prune={"steps": 2}, compare={"threads": 3})
    made.distilled.write_text("distilled")
    made.student.write_text("pruned")
    read = Prune(made).inputs()
    assert read["student"] == made.hash(tmp_path / "student.pt")
    assert read["section"]["steps"] == 2
    assert (read["threads"], read["building"]) == (3, "building")
    assert Prune(made).outputs() == [tmp_path / "pruned.pt", tmp_path / "pruning.html"]
