from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tvmkd import config
from tvmkd.stages import pipeline

RESULTS: dict[str, Any] = {"gate": {"passed": True, "checks": []}}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[config.Config, dict[str, Any]]]:
    """Calls of the pipeline, which does nothing; its own tests run it."""
    calls: list[Any] = []

    def run(cfg: config.Config, **options: Any) -> dict[str, Any]:
        calls.append((cfg, options))
        return RESULTS

    monkeypatch.setattr(pipeline, "run", run)
    return calls


def write(folder: Path, text: str = '[project]\nname = "mine"\n') -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_models_are_looked_for_beside_the_config(tvmkd: Any, tmp_path: Path, ran: Any) -> None:
    done = tvmkd("run", "--config", write(tmp_path), "--until", "build")
    assert done.code == 0
    ((cfg, options),) = ran
    assert cfg.project.name == "mine"
    assert options == {"search_in": [tmp_path], "until": "build"}


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_the_gate_is_the_exit_code(
    tvmkd: Any, tmp_path: Path, ran: Any, monkeypatch: pytest.MonkeyPatch, passed: bool, code: int
) -> None:
    monkeypatch.setitem(RESULTS, "gate", {"passed": passed, "checks": []})
    done = tvmkd("run", "--config", write(tmp_path), "--json")
    assert done.code == code
    assert json.loads(done.out)["gate"]["passed"] is passed


@pytest.mark.parametrize("verb", ["run", "distill"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file; give --config FILE"),
        ("[project", "not a TOML file"),
        ('[project]\nnam = "x"', 'unknown key "project.nam"; did you mean "name"?'),
        ('[project]\nname = "x"\n[tune]\ntrials = 0', "tune.trials: "),
    ],
)
def test_a_bad_config_is_bad_input(
    tvmkd: Any, tmp_path: Path, verb: str, text: str | None, message: str
) -> None:
    path = tmp_path / "gone.toml" if text is None else write(tmp_path, text)
    done = tvmkd(verb, "--config", path)
    assert done.code == 4
    assert done.line.startswith(f"{path}: {message}")


def test_an_unknown_stage_is_wrong_usage(tvmkd: Any, tmp_path: Path) -> None:
    assert tvmkd("run", "--config", write(tmp_path), "--until", "biuld").code == 2


def test_distill_stops_after_distilling(tvmkd: Any, tmp_path: Path, ran: Any) -> None:
    assert tvmkd("distill", "--config", write(tmp_path)).code == 0
    assert ran[0][1]["until"] == "early_exit"


def test_every_process_under_torchrun_builds_the_same_student(
    tvmkd: Any, tmp_path: Path, ran: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tvmkd.stages import distill

    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(distill, "train", lambda *arguments: calls.append(arguments))
    monkeypatch.setenv("RANK", "1")
    path = write(tmp_path, '[project]\nname = "mine"\n[target]\nname = "x86-64-v4"\n')
    assert tvmkd("distill", "--config", path).code == 0
    ((cfg, target, folder, search_in),) = calls
    assert (cfg.project.name, target.name) == ("mine", "x86-64-v4")
    assert (folder, search_in) == (cfg.project.out, [tmp_path])
    assert not ran
