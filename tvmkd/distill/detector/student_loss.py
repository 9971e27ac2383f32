"""A student's own loss on labels, with other losses of boxes and weights by IoU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor
from torchvision.ops import (
    box_iou,
    complete_box_iou_loss,
    generalized_box_iou_loss,
)

from tvmkd.base.errors import InputError
from tvmkd.data.detection.dataset import Target
from tvmkd.distill.distributed import normaliser
from tvmkd.distill.task import Batch, Loss
from tvmkd.models.detectors import Dense, DenseRetinaNet, DenseSsd, Raw

BoxLoss = Literal["own", "giou", "ciou"]
BOX_LOSSES = {"giou": generalized_box_iou_loss, "ciou": complete_box_iou_loss}
WEIGHT = 2.0  # of a loss by IoU beside that of classes, as in MMDetection's detectors


def student_loss(network: Dense, box_loss: BoxLoss = "own", iou_weight: float = 0.0) -> Loss:
    """The loss of a student on labels alone, normalised over the whole batch.

    Args:
        network: the student.
        box_loss: ``own``: that of its kind; ``giou``, ``ciou``: of decoded boxes.
        iou_weight: exponent by which a box's IoU with its object weighs the loss on its class.

    Raises:
        InputError: this kind of detector has no such loss.
    """
    if box_loss == "own" and iou_weight == 0:
        return lambda batch, output: network.loss(output, batch.labels, normaliser)
    if isinstance(network, DenseSsd):
        return SsdLoss(network, box_loss, iou_weight)
    if not isinstance(network, DenseRetinaNet) or iou_weight:
        key = "iou_weight" if iou_weight else "box_loss"
        raise InputError(
            f"[detection] {key}: a student that is a {type(network).__name__} has no such loss; "
            "leave it out, or choose ssdlite"
        )

    def loss(batch: Batch, output: Raw) -> Tensor:
        with _regressing(network, box_loss):
            return network.loss(output, batch.labels, normaliser)

    return loss


class SsdLoss:
    """SSD's loss (Liu et al., 2016): classes with three hard negatives a positive, and boxes.

    With ``own`` and 0 it is that of `DenseSsd.loss`. A loss of boxes by IoU has the weight
    `WEIGHT`. The cross entropy of a positive anchor is weighted by ``IoU^iou_weight`` of the box
    that it predicts (IoU-balanced classification, Wu et al., 2020), scaled so that the sum over all
    positives of an image stays the same: the scores then rank boxes by how well they are placed.

    Args:
        network: the student.
        box_loss, iou_weight: as for `student_loss`.
    """

    def __init__(self, network: DenseSsd, box_loss: BoxLoss, iou_weight: float) -> None:
        # Not an nn.Module: the student must not be a part of its loss.
        self._network, self._box_loss, self._iou_weight = network, box_loss, iou_weight

    def __call__(self, batch: Batch, output: Raw) -> Tensor:
        """A batch and the student's output for it to a scalar."""
        total = output.logits.new_zeros(())
        count = total.clone()
        for image, target in enumerate(batch.labels):
            part, matched = self._image(output.logits[image], output.offsets[image], target)
            total = total + part
            count = count + matched
        return total / normaliser(count)

    def _image(self, logits: Tensor, offsets: Tensor, target: Target) -> tuple[Tensor, int]:
        """The loss of one image, not normalised, and its number of positive anchors."""
        own, anchors = cast(Any, self._network), self._network.anchors
        boxes = target["boxes"]
        classes = torch.zeros(len(anchors), dtype=torch.long, device=logits.device)
        if not len(boxes):
            # No positive, so no hard negative either.
            return (logits.sum() + offsets.sum()) * 0, 0
        places = own.proposal_matcher(box_iou(boxes, anchors))
        (positive,) = torch.where(places >= 0)
        objects = boxes[places[positive]]
        classes[positive] = target["labels"][places[positive]]
        found = own.box_coder.decode_single(offsets[positive], anchors[positive])
        if self._box_loss == "own":
            wanted = own.box_coder.encode_single(objects, anchors[positive])
            gap = F.smooth_l1_loss(offsets[positive], wanted, reduction="sum")
        else:
            gap = WEIGHT * BOX_LOSSES[self._box_loss](found, objects, reduction="sum")
        apart = F.cross_entropy(logits, classes, reduction="none")
        weights = balanced(apart[positive], found, objects, self._iou_weight)
        most = int(own.neg_to_pos_ratio) * len(positive)
        negative = apart[classes == 0]
        hard = negative.topk(min(most, len(negative))).values
        return gap + (weights * apart[positive]).sum() + hard.sum(), len(positive)


def balanced(apart: Tensor, found: Tensor, objects: Tensor, power: float) -> Tensor:
    """Weights ``IoU^power`` of losses, times what keeps their weighted sum the plain one.

    Args:
        apart: the losses ``[n]``.
        found, objects: predicted and true boxes ``[n, 4]``.
        power: 0: all weights are 1.
    """
    if power == 0 or not len(apart):
        return torch.ones_like(apart)
    with torch.no_grad():
        weights: Tensor = box_iou(found, objects).diagonal().pow(power)
        weights *= apart.sum() / (weights * apart).sum().clamp_min(1e-6)
    return weights


@contextmanager
def _regressing(network: DenseRetinaNet, box_loss: str) -> Iterator[None]:
    """Meanwhile a RetinaNet's head has another loss of boxes."""
    head = cast(Any, network.head).regression_head
    before = head._loss_type
    try:
        if box_loss != "own":
            head._loss_type = box_loss
        yield
    finally:
        head._loss_type = before
