"""Pruning a small student with real training and builds; the latencies are invented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from tvmkd import config, models, targets
from tvmkd.base.errors import InputError, UsageError
from tvmkd.models import checkpoint
from tvmkd.prune import channels, pruning
from tvmkd.prune.pruning import prune
from tvmkd.stages import pipeline
from tvmkd.timing import interleaved

SECTIONS: dict[str, Any] = {
    "project": {"name": "prune"},
    "data": {"image_size": 16, "augment": "none"},
    "teacher": {"args": {"widths": [8], "depth": 1}, "epochs": 1},
    "student": {"model": "residual", "args": {"widths": [16, 32], "depth": 1}},
    "distill": {"loss": "kd", "epochs": 1, "seeds": [0], "baseline": False, "lr": 4e-3},
    "prune": {"steps": 2, "ratio": 0.5, "epochs": 1, "max_drop": 1.0},
}


def network(path: Path) -> Any:
    saved = checkpoint.load(path)
    found = models.build(saved.model["spec"], **saved.model["kwargs"])
    found.load_state_dict(saved.state)
    return found


def takes(monkeypatch: pytest.MonkeyPatch, *ratios: float) -> None:
    """Sets the latency of each step's network as a ratio of that of the network before it."""
    left = iter(ratios)

    def in_turns(artifacts: Any, *_: Any) -> Any:
        before, after = artifacts
        factor = 1.0 if before == after else next(left)
        return [[[1.0, 1.01]] * 10, [[factor, factor * 1.01]] * 10]

    monkeypatch.setattr(interleaved, "in_turns", in_turns)


@pytest.mark.slow
@pytest.mark.usefixtures("warm_worker")
def test_the_last_kept_step_is_published_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes(monkeypatch, 0.8, 1.0)
    built: list[Path] = []

    def compile_pruned(onnx: Path, target: Any, records: Any, out: Path, **options: Any) -> Any:
        """Compiles the network of the first step only: nothing reads the artifacts here."""
        built.append(onnx)
        return build(onnx, target, records, out, **options) if len(built) == 2 else {}

    build = pruning.build
    monkeypatch.setattr(pruning, "build", compile_pruned)
    sections = {**SECTIONS, "project": {"name": "prune", "out": str(tmp_path / "run")}}
    results = pipeline.run(config.parse(sections), until="export")
    found: dict[str, Any] = results["prune"]
    json.dumps(found)
    assert [path.parent.name for path in built] == ["0", "1", "2"]
    assert (built[1].parent / "artifact/manifest.json").is_file()
    assert [step["kept"] for step in found["steps"]] == [True, True, False]
    assert [step["share"] for step in found["steps"]] == [0.0, 0.5, 0.5]
    assert found["kept"] == 1
    macs = [step["macs"] for step in found["steps"]]
    assert macs == sorted(macs, reverse=True)
    assert found["macs"] == macs[1]
    pruned, student = tmp_path / "run/pruned.pt", tmp_path / "run/student.pt"
    before, after = (sum(channels.widths(network(path)).values()) for path in (student, pruned))
    assert after == found["steps"][1]["channels"] < before
    assert checkpoint.load(pruned).meta["input_shape"] == "1,1,16,16"
    assert checkpoint.load(pruned).meta["pruned"] == "true"
    exported = onnx.load(results["export"]["onnx"])
    weights = {tuple(entry.dims) for entry in exported.graph.initializer}
    first = channels.widths(network(pruned))["stem.0.0"]
    assert (first, 1, 3, 3) in weights


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
