from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_detectors import tiny
from torchvision.models.detection._utils import BoxCoder

from tvmkd.distill.detector.losses import (
    Answers,
    DetectorDistillation,
    foreground,
    masks,
    pairs,
    presence_logit,
)
from tvmkd.models.detectors import BOX_WEIGHTS, Raw, retinanet

OFF = {"classification": 0.0, "boxes": 0.0, "features": 0.0}


def answers(network: Any, images: torch.Tensor) -> Answers:
    found = network.raw(images)
    return Answers(network.answers(found.logits), found.offsets, found.features)


def there(count: int = 2) -> list[Any]:
    return [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 48.0]])} for _ in range(count)]


@pytest.mark.parametrize("term", OFF)
def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn(term: str) -> None:
    teacher = tiny()
    images = torch.rand(2, 3, 64, 64)
    loss = DetectorDistillation(teacher, teacher, **{**OFF, term: 1.0})
    for adapter in loss.adapters:
        torch.nn.init.dirac_(adapter.weight)
        torch.nn.init.zeros_(adapter.bias)
    with torch.no_grad():
        found = teacher.raw(images)
        same = float(loss(found, answers(teacher, images), there()))
        other = float(loss(tiny(1).raw(images), answers(teacher, images), there()))
    assert same == pytest.approx(0, abs=1e-4)
    assert other > 10 * max(same, 1e-4)


@pytest.mark.parametrize("term", OFF)
def test_each_term_falls_when_it_is_followed_down(term: str) -> None:
    torch.manual_seed(1)
    teacher, student = retinanet(10, 64, smallest=8).eval(), tiny(2)
    # An untrained RetinaNet is sure of nothing: make it sure of something.
    torch.nn.init.normal_(teacher.head.classification_head.cls_logits.weight, std=0.3)
    images = torch.rand(2, 3, 64, 64)
    loss = DetectorDistillation(student, teacher, **{**OFF, term: 1.0})
    with torch.no_grad():
        wanted = answers(teacher, images)
    features = [wanted.features[place] for _, (place, _) in loss.pairs]
    wanted = Answers(wanted.logits, wanted.offsets, features)
    optimizer = torch.optim.Adam([*student.parameters(), *loss.parameters()], lr=3e-3)
    values = []
    for _ in range(12):
        value = loss(student.raw(images), wanted, there())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.9 * values[0]


def test_what_the_teacher_does_not_see_hardly_counts() -> None:
    """Foreground weighting: a class that is wrong where nothing is costs next to nothing."""
    teacher = tiny()
    loss = DetectorDistillation(teacher, teacher, **{**OFF, "classification": 1.0})
    count = len(teacher.anchors)
    sure = torch.full((1, count, 11), -8.0)
    sure[..., 0] = 8.0  # background everywhere
    place = int(loss.mine[0])
    sure[0, place, 0], sure[0, place, 4] = -8.0, 8.0  # but for one anchor
    blank = torch.zeros(1, count, 4)

    def of(anchor: int) -> float:
        student = sure.clone()
        student[0, anchor, 1:] = student[0, anchor, 1:].flip(0)
        found = Raw(student, blank, [])
        return float(loss(found, Answers(sure, blank, []), []))

    assert of(place) > 1
    assert of(int(loss.mine[-1])) < 1e-3 * of(place)


def test_boxes_are_the_teachers_in_the_students_pixels() -> None:
    """A teacher that sees twice the pixels, whose boxes are its anchors: offsets that say so."""
    student, teacher = tiny(), tiny(1, size=128)
    loss = DetectorDistillation(student, teacher, **{**OFF, "boxes": 1.0})
    anchors = (teacher.anchors[loss.theirs] / 2).clamp(0, 64)
    coder = BoxCoder(BOX_WEIGHTS["softmax"])
    offsets = torch.zeros(1, len(student.anchors), 4)
    offsets[0, loss.mine] = coder.encode_single(anchors, student.anchors[loss.mine])
    logits = torch.zeros(1, len(teacher.anchors), 11)
    wanted = Answers(logits, torch.zeros(1, len(teacher.anchors), 4), [])
    found = Raw(torch.zeros(1, len(student.anchors), 11), offsets, [])
    assert float(loss(found, wanted, [])) == pytest.approx(0, abs=1e-5)
    offsets[0, loss.mine] += 1
    assert float(loss(Raw(found.logits, offsets, []), wanted, [])) > 1


def test_only_maps_of_the_same_stride_are_paired() -> None:
    student, teacher = tiny(), retinanet(10, 64)
    assert [(mine[0], other[0]) for mine, other in pairs(student, teacher)] == [
        (0, 0),
        (1, 1),
        (2, 2),
    ]
    assert pairs(student, retinanet(10, 128)) == pairs(student, retinanet(10, 128))
    assert not teacher.eval().training
    assert student.training is False


def test_masks_are_where_the_boxes_are() -> None:
    made = masks(there(1), 64, (8, 8))
    assert made.shape == (1, 8, 8)
    assert made[0, 1:6, 1:5].all()
    assert int(made.sum()) == 20


def test_presence_is_the_same_in_both_forms() -> None:
    logits = torch.randn(2, 5, 4)
    for softmax in (True, False):
        sure, classes = foreground(logits, softmax)
        assert torch.allclose(presence_logit(logits, softmax).sigmoid(), sure, atol=1e-6)
        assert classes.shape[-1] == (3 if softmax else 4)
