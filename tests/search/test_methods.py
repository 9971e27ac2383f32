from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import stand_ins

from tvmkd import config, targets
from tvmkd.base.errors import InputError, UsageError
from tvmkd.search import methods


def cfg(folder: Path, **search: Any) -> config.Config:
    project = {**stand_ins.SECTIONS["project"], "out": str(folder)}
    return stand_ins.toy(project=project, search={**stand_ins.SECTIONS["search"], **search})


def test_a_method_gets_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    module = ModuleType("some_method")
    module.search = lambda plan, event: asked.append((plan, event))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "some_method", module)
    monkeypatch.setitem(methods.METHODS, "joint", "some_method:search")
    target = targets.load("host")
    methods.search(cfg(tmp_path, method="joint"), target, search_in=[tmp_path])
    ((plan, event),) = asked
    assert (plan.folder, plan.target, plan.search_in) == (tmp_path / "search", target, (tmp_path,))
    event("trial", {})


def test_a_latency_term_of_the_training_is_told_to_have_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("quiet_method")
    module.search = lambda plan, event: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "quiet_method", module)
    monkeypatch.setitem(methods.METHODS, "study", "quiet_method:search")
    given, target, said = cfg(tmp_path), targets.load("host"), list[Any]()
    methods.search(given, target, on_event=lambda *event: said.append(event))
    assert said == []
    heavy = given.distill.model_copy(update={"latency_weight": 0.5})
    given = given.model_copy(update={"distill": heavy})
    methods.search(given, target, on_event=lambda *event: said.append(event))
    ((name, data),) = said
    assert name == "note"
    assert "[distill] latency has no effect" in data["text"]


def test_values_stand_over_the_file(tmp_path: Path) -> None:
    given = cfg(tmp_path, budget="5ms")
    assert methods.changed(given, {"budget": None, "trials": None}) is given
    found = methods.changed(given, {"budget": 2, "trials": 9, "objective": None})
    assert found.search is not None
    assert (found.search.budget, found.search.trials, found.search.objective) == (2, 9, "accuracy")
    assert found.search.space.keys() == {"width", "distill.lr"}
    with pytest.raises(InputError, match=r"the arguments: search.trials"):
        methods.changed(given, {"trials": 0}, "the arguments")


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "search").touch()
    with pytest.raises(InputError, match="search: is a file, and a folder is needed"):
        methods.search(cfg(tmp_path), targets.load("host"))


def test_a_method_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(methods.METHODS, "joint", "tvmkd.search.nothing:search")
    with pytest.raises(UsageError, match='no method "joint"; use "study"'):
        methods.search(cfg(tmp_path, method="joint"), targets.load("host"))
