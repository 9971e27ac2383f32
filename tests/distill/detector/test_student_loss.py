from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_detectors import shared, shared_teacher
from torch import nn
from torchvision.ops import box_iou, complete_box_iou_loss, generalized_box_iou_loss

from tvmkd.base.errors import InputError
from tvmkd.distill.detector.student_loss import WEIGHT, SsdLoss, balanced, student_loss
from tvmkd.distill.distributed import normaliser
from tvmkd.distill.task import Batch
from tvmkd.models.detectors import DenseSsd, Raw

NONE: dict[str, torch.Tensor] = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}
TARGETS: list[Any] = [
    {
        "boxes": torch.tensor([[8.0, 8.0, 40.0, 44.0], [30.0, 4.0, 50.0, 22.0]]),
        "labels": torch.tensor([3, 7]),
    },
    NONE,
    {"boxes": torch.tensor([[5.0, 30.0, 25.0, 60.0]]), "labels": torch.tensor([1])},
]


def batch(targets: list[Any]) -> Batch:
    return Batch(torch.zeros(len(targets), 3, 64, 64), targets, torch.arange(len(targets)), 0.0)


def outputs(count: int = 3) -> Raw:
    network = shared()
    torch.manual_seed(1)
    shape = (count, len(network.anchors))
    return Raw(torch.randn(*shape, 11), 0.3 * torch.randn(*shape, 4), [])


def ssd() -> DenseSsd:
    network = shared()
    assert isinstance(network, DenseSsd)
    return network


def test_with_nothing_changed_it_is_torchvisions() -> None:
    found = SsdLoss(ssd(), "own", 0.0)(batch(TARGETS), outputs())
    wanted = ssd().loss(outputs(), TARGETS, normaliser)
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)
    usual = student_loss(ssd())
    assert not isinstance(usual, SsdLoss)
    assert float(usual(batch(TARGETS), outputs())) == float(wanted)


@pytest.mark.parametrize(
    ("name", "theirs"), [("giou", generalized_box_iou_loss), ("ciou", complete_box_iou_loss)]
)
def test_boxes_by_their_overlap(name: Any, theirs: Any) -> None:
    """The classes' part stays; the boxes' is the loss of decoded boxes at positive anchors."""
    network: Any = ssd()
    raw = outputs(1)
    before = float(SsdLoss(network, "own", 0.0)(batch(TARGETS[:1]), raw))
    after = float(SsdLoss(network, name, 0.0)(batch(TARGETS[:1]), raw))
    places = network.proposal_matcher(box_iou(TARGETS[0]["boxes"], network.anchors))
    positive = torch.where(places >= 0)[0]
    objects = TARGETS[0]["boxes"][places[positive]]
    anchors = network.anchors[positive]
    boxes = network.box_coder.decode_single(raw.offsets[0, positive], anchors)
    coded = network.box_coder.encode_single(objects, anchors)
    was = nn.functional.smooth_l1_loss(raw.offsets[0, positive], coded, reduction="sum")
    now = WEIGHT * theirs(boxes, objects, reduction="sum")
    assert after - before == pytest.approx(float(now - was) / len(positive), rel=1e-3)


def test_weights_by_iou_by_hand() -> None:
    """IoU 1 and 1/4, squared; the weighted sum of the losses stays."""
    objects = torch.tensor([[0.0, 0.0, 10.0, 10.0]] * 2)
    found = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 5.0, 5.0]])
    apart = torch.tensor([1.0, 3.0])
    scale = 4 / (1 + 3 / 16)
    weights = balanced(apart, found, objects, 2.0)
    assert weights.tolist() == pytest.approx([scale, scale / 16])
    assert float((weights * apart).sum()) == pytest.approx(4.0)
    assert balanced(apart, found, objects, 0.0).tolist() == [1, 1]


def test_well_placed_boxes_learn_their_class_first() -> None:
    """Gradients of the classes where the box is right, against where it is not."""
    network: Any = ssd()
    loss = student_loss(network, "own", 3.0)
    raw = outputs(1)
    logits = torch.zeros_like(raw.logits).requires_grad_()
    places = network.proposal_matcher(box_iou(TARGETS[0]["boxes"], network.anchors))
    first, second = torch.where(places == 0)[0][:2].tolist()
    offsets = torch.zeros_like(raw.offsets)
    wanted = TARGETS[0]["boxes"][:1]
    offsets[0, first] = network.box_coder.encode_single(wanted, network.anchors[first : first + 1])
    offsets[0, second] = offsets[0, second] + torch.tensor([9.0, 9.0, 0, 0])
    loss(batch(TARGETS[:1]), Raw(logits, offsets, [])).backward()
    assert logits.grad is not None
    well, badly = (float(logits.grad[0, place].abs().sum()) for place in (first, second))
    assert well > 3 * badly


def test_images_without_objects_alone_have_a_loss_and_a_gradient() -> None:
    raw = outputs(1)
    logits = raw.logits.requires_grad_()
    found = student_loss(ssd(), "giou")(batch([NONE]), Raw(logits, raw.offsets, []))
    assert found.item() == 0
    found.backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_retinanet_has_other_losses_of_boxes_only() -> None:
    network: Any = shared_teacher()
    raw = Raw(
        torch.zeros(1, len(network.anchors), 11), 0.3 * torch.ones(1, len(network.anchors), 4), []
    )
    plain = float(student_loss(network)(batch(TARGETS[:1]), raw))
    assert float(student_loss(network, "ciou")(batch(TARGETS[:1]), raw)) != pytest.approx(plain)
    assert network.head.regression_head._loss_type == "giou"  # as it was
    with pytest.raises(InputError, match=r"\[detection\] iou_weight: a student that is a DenseR"):
        student_loss(network, "own", 1.0)
