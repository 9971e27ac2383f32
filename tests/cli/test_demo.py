"""``tvmkd demo``: the shipped tvmkd.toml, with a pipeline that does nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tvmkd import config
from tvmkd.base import engine_registry
from tvmkd.stages import pipeline


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[config.Config, dict[str, Any]]]:
    """Calls of the pipeline, whose gate says no."""
    calls: list[Any] = []

    def run(cfg: config.Config, **options: Any) -> dict[str, Any]:
        calls.append((cfg, options))
        return {"gate": {"passed": False, "checks": []}}

    monkeypatch.setattr(pipeline, "run", run)
    return calls


def test_it_runs_every_stage_of_the_shipped_config(tvmkd: Any, tmp_path: Path, ran: Any) -> None:
    done = tvmkd("demo", "-o", tmp_path / "out", "--json")
    assert (done.code, json.loads(done.out)["gate"]["passed"]) == (1, False)
    ((cfg, options),) = ran
    assert cfg.project.out == tmp_path / "out"
    assert options == {"search_in": [], "until": pipeline.STAGES[-1]}
    assert cfg.distill.baseline, "the demo shows both accuracies"
    assert set(cfg.compare.engines) == set(engine_registry.RUN)


def test_its_folder_is_that_of_the_config_by_default(tvmkd: Any, ran: Any) -> None:
    assert tvmkd("demo").code == 1
    assert ran[0][0].project.out == Path("runs/demo")


def test_show_prints_the_config_and_runs_nothing(tvmkd: Any, tmp_path: Path, ran: Any) -> None:
    done = tvmkd("demo", "--show")
    assert done.code == 0
    path = tmp_path / "mine.toml"
    path.write_text(done.out, encoding="utf-8")
    assert config.read(path).project.name == "demo"
    assert done.out.endswith("\n")
    assert not done.out.endswith("\n\n")
    assert ran == []
