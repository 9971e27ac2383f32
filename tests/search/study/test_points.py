from __future__ import annotations

import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tvmkd.models import checkpoint
from tvmkd.search.study import points


def trial(state: TrialState, **attributes: Any) -> optuna.trial.FrozenTrial:
    value = 0.5 if state == TrialState.COMPLETE else None
    return optuna.trial.create_trial(state=state, value=value, user_attrs=attributes)


@pytest.mark.parametrize(
    ("made", "state"),
    [
        (trial(TrialState.COMPLETE), "complete"),
        (trial(TrialState.PRUNED), "pruned"),
        (trial(TrialState.PRUNED, infeasible="is slower"), "infeasible"),
        (trial(TrialState.FAIL, error="no"), "failed"),
        (trial(TrialState.FAIL, void="its process died"), None),
        (trial(TrialState.PRUNED, void="the same network as trial 2"), None),
        (trial(TrialState.WAITING), None),
    ],
)
def test_the_states_of_points(made: Any, state: str | None, tmp_path: Path) -> None:
    found = points.point(made, {}, tmp_path)
    assert (None if found is None else found.state) == state
    assert points.counted(made) == (state in ("complete", "pruned"))
    assert points.active(made) == (made.state == TrialState.WAITING)


def test_a_point_has_what_the_trial_keeps(tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "a.pt").touch()
    kept = {
        "structure": {"width": 0.5},
        "accuracy": 0.9,
        "test_accuracy": 0.8,
        "predicted": 2.0,
        "low": 1.5,
        "high": 2.5,
        "interpolated": 0.25,
        "macs": 1000,
        "parameters": 10,
        "epochs": 3,
        "seconds": 1.5,
        "seed": 2,
        "checkpoint": "trials/a.pt",
    }
    found = points.point(trial(TrialState.COMPLETE, **kept), {}, tmp_path)
    assert found is not None
    assert {name: getattr(found, name) for name in kept} == kept
    assert found.latency == 2.0
    elsewhere = trial(TrialState.COMPLETE, checkpoint="trials/of-another-machine.pt")
    there = points.point(elsewhere, {}, tmp_path)
    assert there is not None
    assert there.checkpoint is None


def test_what_was_measured_later_counts_too(tmp_path: Path) -> None:
    study = {"measured:-1": {"measured": 3.0, "board_seconds": 4.0}, "teacher": {}}
    later = points.measured_later(study)
    made = [trial(TrialState.COMPLETE, predicted=2.0, board_seconds=1.5)]
    assert [point.measured for point in points.points(made, later, tmp_path)] == [3.0]
    assert points.board_seconds(made, later) == 5.5


def test_a_failed_point_has_its_line(tmp_path: Path) -> None:
    found = points.point(trial(TrialState.FAIL, error="NaN"), {}, tmp_path)
    assert found is not None
    assert found.error == "NaN"


def test_weights_of_another_machine_are_not_those_that_lie_here(tmp_path: Path) -> None:
    """An unfinished training of the same network may lie in the folder."""
    here = checkpoint.Checkpoint({}, {}, epoch=2)
    checkpoint.save(tmp_path / "a.pt", here)

    def known(**attributes: Any) -> str | None:
        made = trial(TrialState.COMPLETE, checkpoint="a.pt", epochs=3, **attributes)
        found = points.point(made, {}, tmp_path)
        assert found is not None
        return found.checkpoint

    assert known(host=platform.node()) == "a.pt"
    assert known(host="another") is None
    checkpoint.save(tmp_path / "a.pt", replace(here, epoch=3))
    os.utime(tmp_path / "a.pt", (1, 1))
    assert known(host="another") == "a.pt", "on a shared disk, or under a new name of the machine"
    (tmp_path / "a.pt").write_bytes(b"damaged")
    assert known(host="another") is None
