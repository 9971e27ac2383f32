from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_detectors import ARGS, scenes, small, tiny
from torchvision.models import mobilenet_v3_small

from tvmkd.base.detector_description import Description
from tvmkd.base.errors import InputError
from tvmkd.distill import samples
from tvmkd.distill.detector.run import distill_detector
from tvmkd.models import checkpoint as files


def run(root: Path, **changes: dict[str, Any]) -> Any:
    scenes(root)
    cfg = small(root, **changes)
    return distill_detector(cfg, cfg.project.out)


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
    from tvmkd.distill.detector import run as module

    sizes: dict[str, int] = {}
    fit = module.fit

    def noted(network: Any, job: Any, *rest: Any) -> Any:
        sizes[job.name.split()[0]] = job.settings.batch_size
        return fit(network, job, *rest)

    monkeypatch.setattr(module, "fit", noted)
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
    assert samples(small(tmp_path).data, 3).shape == (3, 3, 64, 64)
