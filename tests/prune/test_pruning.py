"""Pruning a student that takes seconds, with real builds; what is faster is decided by the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from tvmkd import config, models, targets
from tvmkd.base.errors import InputError, UsageError
from tvmkd.models import checkpoint
from tvmkd.prune import channels
from tvmkd.prune.pruning import prune
from tvmkd.stages import pipeline
from tvmkd.timing import interleaved

SECTIONS: dict[str, Any] = {
    "project": {"name": "prune"},
    "data": {"image_size": 16, "augment": "none"},
    "teacher": {"args": {"widths": [8], "depth": 1}, "epochs": 1},
    "student": {"model": "residual", "args": {"widths": [16, 32], "depth": 1}},
    "distill": {"loss": "kd", "epochs": 2, "seeds": [0], "baseline": False, "lr": 4e-3},
    "prune": {"steps": 2, "ratio": 0.5, "epochs": 1, "max_drop": 1.0},
}


def run(folder: Path, **changes: Any) -> dict[str, Any]:
    sections = {**SECTIONS, **changes}
    sections["project"] = {"name": "prune", "out": str(folder / "run")}
    results: dict[str, Any] = pipeline.run(config.parse(sections), until="prune")["prune"]
    return results


def network(path: Path) -> Any:
    saved = checkpoint.load(path)
    found = models.build(saved.model["spec"], **saved.model["kwargs"])
    found.load_state_dict(saved.state)
    return found


def takes(monkeypatch: pytest.MonkeyPatch, ratio: float) -> None:
    """Every network takes ``ratio`` of the time of the one before."""

    def in_turns(artifacts: Any, *_: Any) -> Any:
        before, after = artifacts
        factor = 1.0 if before == after else ratio
        return [[[1.0, 1.01]] * 10, [[factor, factor * 1.01]] * 10]

    monkeypatch.setattr(interleaved, "in_turns", in_turns)


@pytest.mark.slow
def test_faster_steps_stay_and_the_pruned_student_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes(monkeypatch, 0.8)
    found = run(tmp_path)
    json.dumps(found)
    assert [step["kept"] for step in found["steps"]] == [True, True, True]
    macs = [step["macs"] for step in found["steps"]]
    assert macs == sorted(macs, reverse=True)
    pruned, student = tmp_path / "run/pruned.pt", tmp_path / "run/student.pt"
    before, after = (sum(channels.widths(network(path)).values()) for path in (student, pruned))
    assert after < 0.5 * before
    assert checkpoint.load(pruned).meta["input_shape"] == "1,1,16,16"
    sections = {**SECTIONS, "project": {"name": "prune", "out": str(tmp_path / "run")}}
    results = pipeline.run(config.parse(sections), until="export")
    assert results["prune"] == found, "nothing had changed"
    exported = onnx.load(results["export"]["onnx"])
    weights = {tuple(entry.dims) for entry in exported.graph.initializer}
    first = channels.widths(network(pruned))["stem.0.0"]
    assert (first, 1, 3, 3) in weights


@pytest.mark.slow
def test_what_is_not_faster_is_undone_and_more_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes(monkeypatch, 1.0)
    found = run(tmp_path, prune={**SECTIONS["prune"], "ratio": 0.3})
    assert [step["kept"] for step in found["steps"]] == [True, False, False]
    assert found["steps"][1]["why"] == "not faster beyond the noise"
    shares = [step["share"] for step in found["steps"]]
    assert shares == pytest.approx([0.0, 0.3, 0.6])
    assert found["kept"] == 0
    same = channels.widths(network(tmp_path / "run/pruned.pt"))
    assert same == channels.widths(network(tmp_path / "run/student.pt"))


@pytest.mark.slow
def test_a_step_that_loses_too_much_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes(monkeypatch, 0.5)
    harsh = {"steps": 3, "ratio": 0.75, "epochs": 1, "lr": 1e-9, "max_drop": 0.0}
    found = run(tmp_path, prune=harsh, distill={**SECTIONS["distill"], "epochs": 8})
    assert [step["kept"] for step in found["steps"]] == [True, False]
    assert "points on the validation split" in found["steps"][1]["why"]


def test_a_target_that_does_not_run_here_is_refused(tmp_path: Path) -> None:
    cfg = config.parse(SECTIONS)
    with pytest.raises(UsageError, match="jetson-nano does not run here"):
        prune(cfg, targets.load("jetson-nano"), tmp_path)


def test_code_that_only_a_checkpoint_names_is_not_pruned(tmp_path: Path) -> None:
    checkpoint.save(
        tmp_path / "student.pt", checkpoint.Checkpoint({"spec": "mine:Net", "kwargs": {}}, {})
    )
    with pytest.raises(InputError, match='not "mine:Net"'):
        prune(config.parse(SECTIONS), targets.load("host"), tmp_path)


def test_pruning_and_early_exits_do_not_go_together() -> None:
    with pytest.raises(InputError, match="do not go together"):
        config.parse({**SECTIONS, "early_exit": {"exits": ["blocks.0"]}})


def test_the_config_bounds_what_is_taken() -> None:
    with pytest.raises(InputError, match=r"prune\.ratio"):
        config.parse({**SECTIONS, "prune": {"ratio": 1.0}})
