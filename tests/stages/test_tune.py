"""What reaches the search, and what is left of it in the records folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from toy_run import context

from tvmkd.base.errors import MissingError
from tvmkd.runtime import interpreters
from tvmkd.stacks import compile as compiling
from tvmkd.stages.tune import Tune
from tvmkd.tuning import table


@pytest.mark.parametrize(
    ("tracker", "address"),
    [
        ("local", None),
        ("boards", ("boards", 9190)),
        ("boards:1", ("boards", 1)),
        ("[::1]:9191", ("::1", 9191)),
    ],
)
def test_every_setting_reaches_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str, address: Any
) -> None:
    @contextlib.contextmanager
    def following() -> Iterator[str]:
        yield "follow"

    fake = Mock(return_value={"trials": 4})
    monkeypatch.setattr(compiling, "tune", fake)
    monkeypatch.setattr(table, "following", following)
    section = {"tracker": tracker, "key": "nano", "trials": 4, "seed": 3, "boards": 2}
    made = context(tmp_path, "jetson-nano", tune={**section, "stack": "relay"})
    assert Tune(made).run() == {"trials": 4}
    fake.assert_called_once_with(
        tmp_path / "student.onnx",
        made.target,
        tmp_path / "records" / "jetson-nano-relay",
        trials=4,
        tracker=address,
        key="nano",
        boards=2,
        seed=3,
        dims={},
        stack="relay",
        on_event="follow",
    )


def test_the_free_batch_reaches_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Mock(return_value={})
    monkeypatch.setattr(compiling, "tune", fake)
    Tune(context(tmp_path, export={"batch": 7, "dynamic_batch": True})).run()
    assert fake.call_args.kwargs["dims"] == {"batch": 7}


def test_a_stack_without_interpreter_is_found_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def find(stack: str) -> None:
        asked.append(stack)
        if stack == "relay":
            raise MissingError("no interpreter")

    monkeypatch.setattr(interpreters, "find", find)
    assert Tune(context(tmp_path)).check() == []
    with pytest.raises(MissingError, match="no interpreter"):
        Tune(context(tmp_path, tune={"stack": "relay"})).check()
    assert asked == ["relax", "relay"]


def test_only_files_that_exist_are_outputs(tmp_path: Path) -> None:
    made = context(tmp_path)
    stage = Tune(made)
    assert stage.outputs() == []
    made.records.mkdir(parents=True)
    (made.records / "trials.jsonl").write_text("{}")
    assert stage.outputs() == [made.records / "trials.jsonl"]
    (made.records / "database_workload.json").write_text("{}")
    # One half of a database cannot be read.
    assert stage.outputs() == [made.records / "trials.jsonl"]
    (made.records / "database_tuning_record.json").write_text("{}")
    (made.records / "session.json").write_text("{}")
    assert [path.name for path in stage.outputs()] == [
        *("database_workload.json", "database_tuning_record.json"),
        *("session.json", "trials.jsonl"),
    ]
