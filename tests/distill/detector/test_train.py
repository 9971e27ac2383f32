from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_detectors import scenes, tiny

from tvmkd.base.errors import InputError
from tvmkd.data.detection.scenes import CLASSES, Recipe, load_scenes
from tvmkd.distill.detector.losses import DetectorDistillation
from tvmkd.distill.detector.teacher_cache import Teacher
from tvmkd.distill.detector.train import Job, fit
from tvmkd.distill.detector.views import Views
from tvmkd.distill.distributed import Team
from tvmkd.distill.training import Settings
from tvmkd.models import checkpoint as files
from tvmkd.models.detectors import Dense

ALONE = Team(0, 1, torch.device("cpu"))


def job(root: Path, **changes: Any) -> Job:
    splits = load_scenes(scenes(root), Recipe(12, 4, 4, size=64))
    made = Job(
        name="student",
        model={"spec": "ssdlite", "kwargs": {}},
        settings=Settings(epochs=3, lr=2e-3, weight_decay=0.0, batch_size=4, seed=0),
        train=Views(splits.train, 64, ("colour",), keep=True),
        val=Views(splits.val, 64),
        variants=2,
        classes=CLASSES,
        data=splits.sha256,
        path=root / "student.pt",
        loss_id={},
        checkpoint_seconds=0.0,
    )
    return replace(made, **changes)


def train(network: Dense, work: Job) -> list[tuple[int, str]]:
    told: list[tuple[int, str]] = []
    fit(network, work, ALONE, lambda done, note: told.append((done, note)))
    return told


def test_it_learns_and_says_how_well(tmp_path: Path) -> None:
    settings = Settings(epochs=8, lr=4e-3, weight_decay=0.0, batch_size=4, seed=0)
    told = train(tiny(), job(tmp_path, settings=settings))
    history = files.load(tmp_path / "student.pt").history
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert "val_map" in history[-1]
    assert told[-1][0] == 8
    assert "validation mAP" in told[-1][1]


class StopError(Exception):
    """Somebody pulls the plug."""


def test_a_stopped_training_ends_where_an_undisturbed_one_does(tmp_path: Path) -> None:
    whole, halves = tiny(), tiny()
    train(whole, job(tmp_path, path=tmp_path / "whole.pt"))

    def stop(_path: Path, epoch: int, _model: Any) -> None:
        if epoch == 2:
            raise StopError

    with pytest.raises(StopError):
        train(halves, job(tmp_path, after_checkpoint=stop))
    again = tiny(seed=9)
    told = train(again, job(tmp_path))
    assert told[0][0] == 2
    assert files.fingerprint(again.state_dict()) == files.fingerprint(whole.state_dict())


def test_another_loss_starts_anew(tmp_path: Path) -> None:
    train(tiny(), job(tmp_path))
    assert train(tiny(), job(tmp_path))[0][0] == 3
    assert train(tiny(), job(tmp_path, loss_id={"boxes": 2.0}))[0][0] == 0


def test_a_loss_that_is_no_number_names_its_batch_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    network = tiny()
    broken = job(tmp_path)

    def spoil(_path: Path, epoch: int, _model: Any) -> None:
        if epoch == 1:
            bias = network.head.classification_head.module_list[0][1].bias
            torch.nn.init.constant_(bias, float("nan"))

    with pytest.raises(InputError, match=r"the loss is nan in batch 1 of 3 of epoch 2 \(training"):
        train(network, replace(broken, after_checkpoint=spoil))
    kept = files.load(tmp_path / "student.pt")
    assert kept.epoch == 1
    assert all(torch.isfinite(value.float()).all() for value in kept.state.values())


def test_it_learns_from_a_teacher_whose_answers_are_kept(tmp_path: Path) -> None:
    student, teacher = tiny(1), tiny(2)
    loss = DetectorDistillation(student, teacher)
    places = [place for _, (place, _) in loss.pairs]
    asked = Teacher(teacher, places, tmp_path / "teacher", "x", (12, 2))
    before = files.fingerprint(teacher.state_dict())
    train(student, job(tmp_path, distillation=loss, teacher=asked, loss_id={"kd": 1}))
    assert files.fingerprint(teacher.state_dict()) == before
    assert asked._there.all()
    state = files.load(tmp_path / "student.pt").optimizer
    assert state is not None
    assert state["loss"]  # what adapts features is kept with the rest
