from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from tiny_detectors import blank, shared, shared_teacher, tiny
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.distill.detector.losses import Answers
from tvmkd.distill.detector.terms import Seen
from tvmkd.distill.detector.terms.crosskd import CrossKD, aligned, towers
from tvmkd.models.detectors import Dense

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def seen(student: Dense, teacher: Dense) -> Seen:
    with torch.no_grad():
        maps = dict(enumerate(teacher.raw(IMAGES).features))
    answers = Answers(torch.empty(0), torch.empty(0), [])
    return Seen(student.raw(IMAGES), answers, maps, [])


def look(network: Dense) -> list[torch.Tensor]:
    with torch.no_grad():
        return network.look(network.blank)


@pytest.mark.parametrize("network", [shared_teacher(1), shared(1)], ids=["retinanet", "ssdlite"])
def test_towers_compute_what_the_head_computes(network: Dense) -> None:
    with torch.no_grad():
        raw = network.raw(IMAGES)
        found = towers(network, "teacher")
        for kind, wanted in (("classes", raw.logits), ("boxes", raw.offsets)):
            for layer in range(1, len(found[kind][0].hidden) + 1):
                parts = [
                    tower.after(tower.before(feature, layer), layer)
                    for tower, feature in zip(found[kind], raw.features, strict=True)
                ]
                assert torch.allclose(torch.cat(parts, 1), wanted, atol=1e-4)


@pytest.mark.parametrize("make", [shared_teacher, shared])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(make: Any) -> None:
    teacher = make(1)
    student = copy.deepcopy(teacher)
    term = CrossKD(student, teacher)
    assert not list(term.parameters())
    # Maps of one variance: those of an untrained SSDLite are next to nothing.
    torch.manual_seed(0)
    maps = [torch.randn_like(feature).repeat(2, 1, 1, 1) for feature in look(teacher)]

    def of(mine: list[torch.Tensor]) -> float:
        student.head(mine)
        answers = Answers(torch.empty(0), torch.empty(0), [])
        return term(Seen(blank(2), answers, dict(enumerate(maps)), [])).item()

    assert of(maps) == pytest.approx(0, abs=1e-4)
    assert of([feature.flip(-1) for feature in maps]) > 1e-3


@pytest.mark.parametrize(
    ("student", "teacher"),
    [(shared(3), shared_teacher(1)), (shared_teacher(3), shared(2))],
    ids=["ssdlite from retinanet", "retinanet from ssdlite"],
)
def test_heads_of_two_kinds_are_crossed(student: Dense, teacher: Dense) -> None:
    student = copy.deepcopy(student).requires_grad_(True)
    teacher.requires_grad_(False)
    term = CrossKD(student, teacher)
    found = term(seen(student, teacher))
    assert math.isfinite(found.item())
    found.backward()
    assert all(weight.grad is not None for weight in term.parameters())
    hidden = towers(student, "student")["classes"][0].hidden[0]
    assert bool(next(hidden.parameters()).grad.any())  # type: ignore[union-attr]
    # The student's own last layer learns from the labels alone.
    assert all(
        weight.grad is None for layer in student.output_layers() for weight in [layer.weight]
    )  # type: ignore[misc]
    assert all(weight.grad is None for weight in teacher.parameters())


def test_hooks_are_taken_off_and_copies_bring_no_teacher() -> None:
    student, teacher = tiny(3), shared_teacher(1)
    term = CrossKD(student, teacher)
    twin = copy.deepcopy(student)
    student.raw(IMAGES)
    held = [one.shape for one in term._held["classes"]]
    assert len(held) == 3
    student.raw(IMAGES)
    assert [one.shape for one in term._held["classes"]] == held  # not those of two batches
    term.close()
    student.raw(IMAGES)
    assert term._held == {"classes": [], "boxes": []}
    assert set(twin.state_dict()) == set(student.state_dict())
    assert not any("teacher" in name for name in term.state_dict())


def test_the_loss_on_classes_by_hand() -> None:
    term = CrossKD(tiny(), shared_teacher(), beta=2.0)
    # Probabilities 0.5 against 0.8: BCE is ln 2, the factor 0.3².
    found = term._sigmoid(torch.zeros(1, 1, 1), torch.full((1, 1, 1), math.log(4)))
    assert float(found) == pytest.approx(0.3**2 * math.log(2), rel=1e-4)
    # Two columns: (0.5, 0.5) against (0.8, 0.2).
    wanted = torch.tensor([[[math.log(4), 0.0]]])
    kl = 0.8 * math.log(1.6) + 0.2 * math.log(0.4)
    assert float(term._softmax(torch.zeros(1, 1, 2), wanted)) == pytest.approx(
        0.3**2 * kl, rel=1e-4
    )


def test_the_loss_on_boxes_by_hand() -> None:
    """Boxes half a width apart: IoU 1/3, and the hull has no more area than both."""
    term = CrossKD(tiny(), shared_teacher())
    moved, plain = torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)
    moved[0, 1, 0] = 0.5
    found = term._boxes(moved, plain, torch.tensor([[0.9, 0.6]]), 3)
    assert float(found) == pytest.approx(0.6 * (1 - 1 / 3), rel=1e-3)


def test_statistics_become_the_teachers() -> None:
    wanted = torch.randn(2, 3, 4, 4) * 5 + 2
    found = aligned(torch.randn(2, 3, 4, 4), wanted)
    assert torch.allclose(found.mean((0, 2, 3)), wanted.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(found.std((0, 2, 3)), wanted.std((0, 2, 3)), atol=1e-3)


def test_a_head_without_towers_is_refused() -> None:
    student = tiny()
    student.head = nn.Identity()
    with pytest.raises(InputError, match=r"^crosskd: the student's head is a Identity, which has"):
        CrossKD(student, shared_teacher())
    with pytest.raises(InputError, match="layer has to be 1 or more, not 0"):
        CrossKD(shared(), shared_teacher(), layer=0)
