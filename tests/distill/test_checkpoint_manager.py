from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.distill.checkpoint_manager import CheckpointManager
from tvmkd.distill.distributed import ALONE, Team
from tvmkd.distill.task import Metric
from tvmkd.distill.training import Job, Rungs, Settings
from tvmkd.models import checkpoint


class Part:
    """Something with a state."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["value"]


def job(path: Path, **changes: Any) -> Job:
    made = Job(
        name="student",
        model={"spec": "x", "kwargs": {}},
        settings=Settings(10, 0.1, 0.0, 8, 3),
        path=path,
        loss=lambda batch, output: output,
        loss_id={},
        checkpoint_seconds=0.0,
    )
    return replace(made, **changes)


def manager(
    work: Job, network: nn.Module, part: Part, notes: list[Any], team: Team = ALONE, key: str = "k"
) -> CheckpointManager:
    def report(done: int, note: str) -> None:
        notes.append((done, note))

    meta = {"training": key}
    metric = Metric("accuracy", scale=100, digits=1, unit="%")
    return CheckpointManager(work, network, {"part": part}, team, report, meta, metric)


def network(value: float) -> nn.Module:
    made = nn.Linear(1, 1)
    nn.init.constant_(made.weight, value)
    return made


def test_every_fifth_of_a_training_is_scored_and_the_last_epoch(tmp_path: Path) -> None:
    notes: list[Any] = []
    kept = manager(job(tmp_path / "a.pt"), network(1.0), Part(), notes)
    for epoch in range(10):
        kept.end_epoch(1.0 / (epoch + 1), lambda: 0.975)
    scored = [entry["epoch"] for entry in kept.state.history if "val_accuracy" in entry]
    assert scored == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert [done for done, _ in notes] == list(range(11))
    assert notes[0][1] == ""
    assert notes[1][1] == "loss 1.000"
    assert notes[3][1] == "loss 0.333, validation 97.5%"


def test_a_training_resumes_with_weights_parts_and_history(tmp_path: Path) -> None:
    first = manager(job(tmp_path / "a.pt"), network(2.0), Part(7), [])
    first.end_epoch(0.5, lambda: 0.9)
    again, part = network(0.0), Part()
    notes: list[Any] = []
    second = manager(job(tmp_path / "a.pt"), again, part, notes)
    assert (second.state.epoch, part.value, again.weight.item()) == (1, 7, 2.0)
    assert notes == [(1, "loss 0.500")]
    other = manager(job(tmp_path / "a.pt"), network(0.0), Part(), [], key="another training")
    assert other.state.epoch == 0


def test_weights_of_another_network_are_one_line(tmp_path: Path) -> None:
    """A library may change what a name stands for."""
    manager(job(tmp_path / "a.pt"), network(2.0), Part(7), []).end_epoch(0.5, lambda: 0.9)
    with pytest.raises(InputError, match=r"a\.pt: does not fit the student any more \(.*remove it"):
        manager(job(tmp_path / "a.pt"), nn.Linear(1, 3), Part(), [])


def test_only_the_leader_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Team, "wait", lambda self: None)
    follower = Team(1, 2, torch.device("cpu"))
    manager(job(tmp_path / "a.pt"), network(1.0), Part(), [], follower).end_epoch(1, lambda: 0.5)
    assert not (tmp_path / "a.pt").exists()


def test_a_checkpoint_is_written_if_the_last_is_old_and_after_the_last_epoch(
    tmp_path: Path,
) -> None:
    calls: list[int] = []
    work = job(
        tmp_path / "a.pt",
        settings=Settings(3, 0.1, 0.0, 8, 3),
        checkpoint_seconds=1e6,
        after_checkpoint=lambda path, epoch, model: calls.append(epoch),
    )
    kept = manager(work, network(1.0), Part(), [])
    for _ in range(3):
        kept.end_epoch(1.0, lambda: 0.5)
    assert calls == [3]
    assert checkpoint.load(work.path).epoch == 3


def test_a_damaged_checkpoint_starts_again_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.pt").write_bytes(b"half")
    assert manager(job(tmp_path / "a.pt"), network(1.0), Part(), []).state.epoch == 0
    assert "student starts again" in capsys.readouterr().err


def test_weights_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    model = network(1.0)
    kept = manager(job(tmp_path / "a.pt"), model, Part(), [])
    kept.end_epoch(0.5, lambda: 0.9)
    before = (tmp_path / "a.pt").read_bytes()
    nn.init.constant_(model.get_parameter("weight"), float("nan"))
    with pytest.raises(InputError, match="student: weight holds NaN or infinity after epoch 2"):
        kept.end_epoch(0.5, lambda: 0.9)
    assert (tmp_path / "a.pt").read_bytes() == before


def test_a_rung_is_scored_and_written_before_it_may_end_the_training(tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []

    def reached(epoch: int, score: float) -> None:
        seen.append((epoch, score))
        if epoch == 7 and len(seen) == 2:
            raise StopIteration

    work = job(tmp_path / "a.pt", checkpoint_seconds=1e6, rungs=Rungs(frozenset({3, 7}), reached))
    kept = manager(work, network(1.0), Part(), [])
    scores = iter((0.2, 0.3, 0.4, 0.6, 0.7))
    for _ in range(6):
        kept.end_epoch(1.0, lambda: next(scores))
    with pytest.raises(StopIteration):
        kept.end_epoch(1.0, lambda: next(scores))
    assert checkpoint.load(work.path).epoch == 7
    again = manager(work, network(1.0), Part(), [])
    assert again.state.epoch == 7
    assert seen == [(3, 0.3), (7, 0.7), (3, 0.3), (7, 0.7)], "a resumed training passes them again"
