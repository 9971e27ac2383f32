from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_detectors import ARGS, retina, scenes, small, tiny
from torch import nn
from torchvision.models import mobilenet_v3_small
from torchvision.models.detection._utils import BoxCoder

from tvmkd.base.detector_description import Description
from tvmkd.base.errors import InputError
from tvmkd.distill import distill, samples
from tvmkd.distill.detection import DetectionTask
from tvmkd.distill.distributed import ALONE
from tvmkd.distill.trainer import Trainer
from tvmkd.distill.training import Job, Settings
from tvmkd.models import checkpoint as files


def run(root: Path, **changes: dict[str, Any]) -> Any:
    scenes(root)
    cfg = small(root, **changes)
    return distill(cfg, cfg.project.out)


def test_a_teacher_and_its_students_are_trained_once(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert [(r.kind, r.seed) for r in first.runs] == [("distilled", 0), ("baseline", 0)]
    saved = files.load(first.checkpoint)
    about = Description.from_metadata(saved.meta, "student.pt")
    assert (about.size, len(about.classes), about.activation) == (64, 10, "softmax")
    metrics = json.loads(first.metrics.read_text())
    assert metrics["metric"] == "mAP"
    assert set(metrics["summary"]) == {"distilled", "baseline"}
    assert metrics["data"]["images"] == {"train": 12, "val": 4, "test": 4}
    assert any(line.startswith("distilled") and "VOC" in line for line in first.lines())
    stamps = [path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*-0.pt")]
    again = run(tmp_path)
    assert [path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*-0.pt")] == stamps
    assert again.runs == first.runs


def test_a_teacher_may_have_batches_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: dict[str, int] = {}
    fit = Trainer.fit

    def noted(self: Trainer, network: Any, job: Any, report: Any = None) -> Any:
        sizes[job.name.split()[0]] = job.settings.batch_size
        return fit(self, network, job, report)

    monkeypatch.setattr(Trainer, "fit", noted)
    run(
        tmp_path,
        teacher={"batch_size": 2, "epochs": 1},
        distill={"baseline": False, "epochs": 1},
    )
    assert sizes == {"teacher": 2, "distilled": 4}


def test_without_a_teacher_there_is_one_kind_of_student(tmp_path: Path) -> None:
    found = run(tmp_path, distill={"loss": "ce"}, teacher={"model": "no such model"})
    assert found.teacher is None
    assert {entry.kind for entry in found.runs} == {"baseline"}


def test_a_teacher_of_other_classes_is_refused_before_any_training(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    torch.save(tiny(classes=4).state_dict(), weights)
    # An SSD has a list of heads; RetinaNet is what weights from elsewhere are of.
    with pytest.raises(InputError, match="not the weights of teacher"):
        run(tmp_path, teacher={"checkpoint": str(weights)})
    bias = {"head.classification_head.cls_logits.bias": torch.zeros(9 * 91)}
    torch.save(bias, weights)
    with pytest.raises(InputError, match="a detector of 90 classes, but the data has 10"):
        run(tmp_path, teacher={"model": "retinanet", "args": {}, "checkpoint": str(weights)})
    assert not list((tmp_path / "run").glob("**/*-0.pt"))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"student": {"model": "depthwise", "args": {}}}, 'student "depthwise": is no detector'),
        ({"student": {"args": {**ARGS, "classes": 4}}}, "has 4 classes and takes 64 pixels"),
        ({"teacher": {"args": {**ARGS, "size": 96}}}, "takes 96 pixels"),
    ],
)
def test_models_that_do_not_suit_the_data_are_refused(
    tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    with pytest.raises(InputError, match=line):
        run(tmp_path, **changes)


def test_a_backbone_from_a_classifier_is_where_training_starts(tmp_path: Path) -> None:
    path = tmp_path / "classifier.pth"
    classifier = mobilenet_v3_small(weights=None)
    torch.save(classifier.state_dict(), path)
    args = {**ARGS, "reduced_tail": False}
    section = {"model": "ssdlite", "args": args, "backbone": str(path)}
    changes = {"student": section, "distill": {"loss": "ce", "epochs": 1, "lr": 1e-9}}
    found = run(tmp_path, **changes)
    kernel = files.load(found.checkpoint).state["backbone.features.0.0.0.weight"]
    assert torch.allclose(kernel, classifier.features[0][0].weight, atol=1e-6)
    with pytest.raises(InputError, match=r"classifier\.pth: not the weights of this detector's"):
        run(tmp_path, **{**changes, "student": {**section, "args": ARGS}})


def test_samples_are_those_of_the_test_split(tmp_path: Path) -> None:
    scenes(tmp_path)
    assert samples(small(tmp_path), 3).shape == (3, 3, 64, 64)


SETTINGS = Settings(epochs=3, lr=2e-3, weight_decay=0.0, batch_size=4, seed=0)


@pytest.fixture
def task(tmp_path: Path) -> DetectionTask:
    scenes(tmp_path)
    return DetectionTask(small(tmp_path, detection={"augment": ["colour"]}))


def job(task: DetectionTask, network: nn.Module, root: Path, **changes: Any) -> Job:
    made = Job(
        name="student",
        model={"spec": "ssdlite", "kwargs": {}},
        settings=SETTINGS,
        path=root / "student.pt",
        loss=task.loss(network),
        loss_id={},
        variants=2,
        checkpoint_seconds=0.0,
    )
    return replace(made, **changes)


def train(task: DetectionTask, network: nn.Module, work: Job) -> list[tuple[int, str]]:
    told: list[tuple[int, str]] = []
    Trainer(task).fit(network, work, lambda done, note: told.append((done, note)))
    return told


def test_a_detector_learns_and_its_history_has_its_map(tmp_path: Path, task: Any) -> None:
    settings = replace(SETTINGS, epochs=8, lr=4e-3)
    network = tiny()
    told = train(task, network, job(task, network, tmp_path, settings=settings))
    saved = files.load(tmp_path / "student.pt")
    assert saved.history[-1]["loss"] < 0.8 * saved.history[0]["loss"]
    assert "val_map" in saved.history[-1]
    assert told[-1][0] == 8
    assert "validation mAP" in told[-1][1]
    assert saved.meta["input_shape"] == "1,3,64,64"
    Description.from_metadata(saved.meta, "student.pt")


class StopError(Exception):
    """Stands for a process that is killed."""


def test_a_stopped_detector_ends_where_an_undisturbed_one_does(tmp_path: Path, task: Any) -> None:
    whole, halves, again = tiny(), tiny(), tiny(seed=9)
    train(task, whole, job(task, whole, tmp_path, path=tmp_path / "whole.pt"))

    def stop(_path: Path, epoch: int, _model: Any) -> None:
        if epoch == 2:
            raise StopError

    with pytest.raises(StopError):
        train(task, halves, job(task, halves, tmp_path, after_checkpoint=stop))
    told = train(task, again, job(task, again, tmp_path))
    assert told[0][0] == 2
    assert files.fingerprint(again.state_dict()) == files.fingerprint(whole.state_dict())
    # Another loss starts anew.
    other = tiny()
    changed = job(task, other, tmp_path, loss_id={"boxes": 2.0})
    assert train(task, other, changed)[0][0] == 0


def test_a_detectors_nan_names_its_batch_and_keeps_the_checkpoint(
    tmp_path: Path, task: Any
) -> None:
    network = tiny()

    def spoil(_path: Path, epoch: int, _model: Any) -> None:
        if epoch == 1:
            bias = network.head.classification_head.module_list[0][1].bias
            nn.init.constant_(bias, float("nan"))

    with pytest.raises(InputError, match=r"the loss is nan in batch 1 of 3 of epoch 2 \(training"):
        train(task, network, job(task, network, tmp_path, after_checkpoint=spoil))
    kept = files.load(tmp_path / "student.pt")
    assert kept.epoch == 1
    assert all(torch.isfinite(value.float()).all() for value in kept.state.values())


def test_a_detector_learns_from_a_teacher_whose_answers_are_kept(tmp_path: Path, task: Any) -> None:
    student, teacher = tiny(1), tiny(2)
    found = task.distillation(student, teacher, tmp_path / "teacher", ALONE)
    assert set(found.identity) == {"classification", "boxes", "features", "temperature", "teacher"}
    before = files.fingerprint(teacher.state_dict())
    work = job(task, student, tmp_path, loss=found.loss, loss_id=found.identity)
    train(task, student, work)
    assert files.fingerprint(teacher.state_dict()) == before
    (folder,) = (tmp_path / "teacher").iterdir()
    assert np.load(folder / "there.npy").all()
    other = tiny(2)
    other.anchors += 1  # not among its weights; boxes are found by them
    task.distillation(student, other, tmp_path / "teacher", ALONE)
    assert len(list((tmp_path / "teacher").iterdir())) == 2
    state = files.load(tmp_path / "student.pt").optimizer
    assert state is not None
    assert state["loss"]  # the weights that adapt features are saved too
    # Earlier versions saved them without the prefix.
    old = {key.removeprefix("distillation."): value for key, value in state["loss"].items()}
    fresh = task.distillation(student, teacher, tmp_path / "teacher", ALONE).loss
    fresh.load_state_dict(old)
    assert files.fingerprint(fresh.state_dict()) == files.fingerprint(state["loss"])


LOSSES = [
    {"loss": "mgd", "schedule": "ramp"},
    {"loss": "crosskd", "weight": 0.5},
    {"loss": "ld"},
]


def test_a_stopped_training_with_further_losses_ends_where_a_whole_one_does(
    tmp_path: Path,
) -> None:
    scenes(tmp_path)
    settings = {"losses": LOSSES, "box_loss": "giou", "iou_weight": 0.5, "variants": 2}
    task = DetectionTask(small(tmp_path, detection=settings))
    task.cfg = small(tmp_path, detection={**settings, "features": 0.0})
    teacher = retina()

    def training(name: str, seed: int, **changes: Any) -> tuple[Any, Job]:
        student = tiny(seed)
        found = task.distillation(student, teacher, tmp_path / "teacher", ALONE)
        path = tmp_path / f"{name}.pt"
        return student, job(
            task, student, tmp_path, path=path, loss=found.loss, loss_id=found.identity, **changes
        )

    def stop(_path: Path, epoch: int, _model: Any) -> None:
        if epoch == 2:
            raise StopError

    whole, work = training("whole", 1)
    assert work.loss_id["losses"][0]["schedule"] == "ramp"
    assert (work.loss_id["box_loss"], work.loss_id["iou_weight"]) == ("giou", 0.5)
    train(task, whole, work)
    work.loss.close()  # type: ignore[attr-defined]
    halves, work = training("halves", 1, after_checkpoint=stop)
    with pytest.raises(StopError):
        train(task, halves, work)
    again, work = training("halves", 1)
    assert train(task, again, work)[0][0] == 2
    assert files.fingerprint(again.state_dict()) == files.fingerprint(whole.state_dict())
    saved = (files.load(tmp_path / "halves.pt").optimizer or {})["loss"]
    assert any(".generators." in key for key in saved)
    assert not any("backbone" in key for key in saved)  # neither student nor teacher


def test_settings_that_are_not_used_leave_a_training_as_it_was(tmp_path: Path, task: Any) -> None:
    plain = task.distillation(tiny(), tiny(2), tmp_path / "teacher", ALONE).identity
    assert set(plain) == {"classification", "boxes", "features", "temperature", "teacher"}
    assert task.student_labels_id == {}


def test_losses_that_do_not_suit_are_refused_before_any_training(tmp_path: Path) -> None:
    for detection, line in (
        ({"losses": [{"loss": "mgd", "args": {"share": 3}}]}, "mgd: share has to be"),
        ({"losses": [{"loss": "none:none"}]}, "there is no module none"),
    ):
        with pytest.raises(InputError, match=line):
            run(tmp_path, detection=detection)
    assert not list((tmp_path / "run").glob("**/*.pt"))


class Oracle:
    """Finds the objects of the validation images: scores of 0.15, and errors of 0.02."""

    def __init__(self, task: DetectionTask, network: Any) -> None:
        self.views, self.network, self.next = task.plain["val"], network, 0

    def __call__(self, images: torch.Tensor) -> Any:
        anchors = self.network.anchors
        logits = torch.full((len(images), len(anchors), 11), -20.0)
        logits[..., 0] = 0.0
        offsets = torch.zeros(len(images), len(anchors), 4)
        coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
        for place in range(len(images)):
            _, target = self.views.view(self.next)
            self.next += 1
            for number, box in enumerate(target["boxes"]):
                offsets[place, number] = coder.encode_single(box[None], anchors[[number]])[0]
                logits[place, number, target["labels"][number]] = np.log(0.15 / 0.85)
            logits[place, -1, 1] = np.log(0.02 / 0.98)
        return logits, offsets


def test_the_threshold_is_calibrated_on_the_validation_data(tmp_path: Path, task: Any) -> None:
    network = tiny()
    about = Description.from_metadata(task.calibrate(network, Oracle(task, network)), "x")
    assert about.threshold == pytest.approx((0.15 + 0.02) / 2, abs=1e-3)
    assert about.classes == task.classes

    def blind(images: torch.Tensor) -> Any:
        shape = (len(images), len(network.anchors))
        return torch.zeros(*shape, 11) - torch.eye(11)[0] * -30, torch.zeros(*shape, 4)

    found = Description.from_metadata(task.calibrate(network, blind), "x")
    assert found.threshold is None
    fixed = DetectionTask(small(tmp_path, detection={"threshold": 0.7}))
    assert Description.from_metadata(fixed.calibrate(network, blind), "x").threshold == 0.7


def test_the_chosen_student_is_calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    calibrate = DetectionTask.calibrate

    def noted(self: Any, network: Any, run: Any, team: Any = ALONE) -> Any:
        kept.append(files.fingerprint(network.state_dict()))
        found = calibrate(self, network, run, team)
        about = Description.from_metadata(found, "x")
        return replace(about, threshold=0.123).to_metadata()

    monkeypatch.setattr(DetectionTask, "calibrate", noted)
    found = run(tmp_path, distill={"loss": "ce", "epochs": 1})
    saved = files.load(found.checkpoint)
    assert kept == [files.fingerprint(saved.state)]
    assert Description.from_metadata(saved.meta, "x").threshold == 0.123


def test_batches_are_made_ahead_and_are_those_of_a_plain_loop(task: Any) -> None:
    from tvmkd.distill.trainer import make_epoch

    epoch = make_epoch(job(task, tiny(), Path(), variants=0), 12, 3, 1, ALONE)
    state = torch.get_rng_state()
    found = list(task.batches(epoch))
    assert torch.equal(torch.get_rng_state(), state)
    assert [batch.view for batch in found] == [epoch.view] * 3
    assert [batch.progress for batch in found] == pytest.approx([3 / 9, 4 / 9, 5 / 9])
    for batch, picks in zip(found, epoch.order, strict=True):
        images, targets = task.train.batch(picks.tolist(), epoch.view)
        assert torch.equal(batch.images, images)
        for one, other in zip(batch.labels, targets, strict=True):
            assert torch.equal(one["boxes"], other["boxes"])
