"""Which stages a run skips, with stages that only write a file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tvmkd import config
from tvmkd.base.errors import InputError, UsageError
from tvmkd.stages import pipeline
from tvmkd.stages.base import Stage

RAN: list[str] = []
READ: dict[str, Any] = {}
FORCED: set[str] = set()


class Fake(Stage):
    """Reads ``READ[name]`` and the file of the stage before it; writes ``NAME.txt``."""

    @property
    def forced(self) -> bool:
        return self.name in FORCED

    def check(self) -> list[str]:
        if READ.get(self.name) == "wrong":
            raise UsageError(f"{self.name}: cannot run")
        return [f"{self.name} is slow"] if READ.get(self.name) == "slow" else []

    def inputs(self) -> dict[str, Any]:
        before = self.after and self.context.folder / f"{self.after.name}.txt"
        return {"read": READ.get(self.name), "before": self.context.hash(before or None)}

    def outputs(self) -> list[Path]:
        return [self.context.folder / f"{self.name}.txt"]

    def run(self) -> dict[str, Any]:
        RAN.append(self.name)
        if READ.get(self.name) == "broken":
            raise InputError(f"{self.name}: broken")
        text = "same" if READ.get(self.name) == "other, same result" else str(READ.get(self.name))
        self.outputs()[0].write_text(text.replace("None", "same"), encoding="utf-8")
        return {"read": READ.get(self.name), "seen": sorted(self.context.results)}


class One(Fake):
    name = "one"


class Prune(Fake):
    name = "prune"
    after = One
    optional = True


class Three(Fake):
    name = "three"
    after = Prune

    def inputs(self) -> dict[str, Any]:
        return {
            "read": READ.get("three"),
            "one": self.context.hash(self.context.folder / "one.txt"),
        }


Run = Callable[..., list[str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the stages, with ``name=what it reads``, and returns those that did their work."""
    monkeypatch.setattr(pipeline, "CLASSES", (One, Prune, Three))
    monkeypatch.setattr(pipeline, "STAGES", ("one", "prune", "three"))
    FORCED.clear()

    def call(
        until: str = "three", sections: dict[str, Any] | None = None, **read: Any
    ) -> list[str]:
        RAN.clear()
        READ.clear()
        READ.update(read)
        project = {"name": "toy", "out": str(tmp_path / "run")}
        cfg = config.parse(
            {"project": project, "target": {"name": "x86-64-v3"}, **(sections or {})}
        )
        pipeline.run(cfg, until=until)
        return list(RAN)

    return call


def test_a_stage_is_skipped_while_its_inputs_are_the_same(run: Run) -> None:
    assert run() == ["one", "three"]
    assert run() == []
    assert run(three="new") == ["three"]
    assert run(three="new") == []
    assert run() == ["three"], "the state remembers the last inputs only"


def test_a_changed_result_invalidates_the_stages_that_read_it(run: Run) -> None:
    run()
    assert run(one="new") == ["one", "three"]
    run()
    assert run(one="other, same result") == ["one"]


def test_an_output_that_is_lost_or_changed_is_made_again(run: Run, tmp_path: Path) -> None:
    run()
    (tmp_path / "run" / "three.txt").unlink()
    assert run() == ["three"]
    (tmp_path / "run" / "one.txt").write_text("edited", encoding="utf-8")
    assert run() == ["one"], "what it writes again is what the next stage has read"


def test_a_forced_stage_is_never_skipped(run: Run) -> None:
    run()
    FORCED.add("one")
    assert run() == ["one"]


def test_an_optional_stage_runs_where_the_config_has_its_section(run: Run) -> None:
    assert run(sections={"prune": {}}) == ["one", "prune", "three"]
    assert run() == []
    assert run(sections={"prune": {}}) == []


def test_a_run_stops_after_the_stage_that_was_asked_for(run: Run, tmp_path: Path) -> None:
    assert run(until="one") == ["one"]
    assert run(until="prune") == []
    assert run() == ["three"]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["three"] == {"read": None, "seen": ["one"]}, "results of skipped stages too"


def test_a_stage_that_fails_keeps_what_was_done(run: Run) -> None:
    with pytest.raises(InputError, match="three: broken"):
        run(three="broken")
    assert run() == ["three"]


def test_mistakes_of_every_stage_show_before_the_first_one_runs(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="three: cannot run"):
        run(three="wrong", until="one")
    assert RAN == []
    assert not (tmp_path / "run").exists()
    run(three="slow")
    assert capfd.readouterr().err.splitlines()[0] == "warning: three is slow"


def test_what_happens_is_one_line_a_stage(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    run()
    assert re.sub(r"\d+ s\n", "N s\n", capfd.readouterr().err).splitlines() == [
        "[1/2] one",
        "[1/2] one: done in N s",
        "[2/2] three",
        "[2/2] three: done in N s",
    ]
    run(three="new")
    assert capfd.readouterr().err.splitlines()[:2] == [
        "[1/2] one: nothing it reads has changed, skipped",
        "[2/2] three",
    ]


def test_a_run_folder_of_an_older_tvmkd_opens_and_its_stages_run_again(
    run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "one.txt").write_text("same", encoding="utf-8")
    entry = {"key": "0" * 64, "files": {"one.txt": "1" * 64}, "result": {}, "seconds": 1.0}
    state = {"format": "tvmkd.run", "version": 1, "stages": {"one": entry, "gone": entry}}
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    assert run() == ["one", "three"]
    assert run() == []
    assert set(json.loads((folder / "state.json").read_text())["stages"]) == {
        "one",
        "three",
        "gone",
    }
