"""From which score on a detection counts: calibrated on data that a network was not trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_area, box_iou

from tvmkd.data.detection.dataset import Target
from tvmkd.data.detection.metrics import VOC_IOU, Prediction

BETAS = {"f0.5": 0.5, "f1": 1.0, "f2": 2.0}
"""How many times as much recall counts as precision, by the name of the measure."""


def calibrate(
    found: Sequence[Prediction],
    targets: Sequence[Target],
    beta: float = 1.0,
    lowest: float = 0.0,
) -> float | None:
    """The threshold with the best F-beta of all objects and classes together.

    A detection is right if it is of an object's class with an IoU of at least half; of several,
    the one with the highest score. Difficult objects and crowds count neither way: a detection
    belongs to a crowd, as in COCO, if half of its own area is inside.

    Args:
        found: detections of each image, those with a score above ``lowest``.
        targets: the objects of each image, boxes in the pixels of ``found``.
        beta: see `BETAS`.
        lowest: score.

    Returns:
        Halfway between the last score that is worth keeping and the next one. None if no detection
        is right.
    """
    parts = [_judged(*pair) for pair in zip(found, targets, strict=True)]
    scores, right = (torch.cat([part[place] for part in parts]) for place in (0, 1))
    objects = sum(int(_counted(target).sum()) for target in targets)
    if not bool(right.any()):
        return None
    scores, order = scores.double().sort(descending=True, stable=True)
    hits = right[order].double().cumsum(0)
    kept = torch.arange(1, len(scores) + 1, dtype=torch.float64)
    quality = (1 + beta**2) * hits / (kept + beta**2 * objects)
    below = torch.cat([scores[1:], scores.new_tensor([lowest])])
    # Equal scores stay together, and detections are kept that are above the threshold.
    quality[scores == below] = -1.0
    best = int(quality.argmax())
    return float((scores[best] + below[best]) / 2)


def _counted(target: Target) -> Tensor:
    """Which objects have to be found."""
    return ~(target["difficult"].cpu() | target["iscrowd"].cpu())


def _inside(boxes: Tensor, regions: Tensor) -> Tensor:
    """Which share of each box is in each region: ``[boxes, regions]``."""
    low = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    share: Tensor = (high - low).clamp_min(0).prod(-1) / box_area(boxes)[:, None]
    return share


def _judged(found: Prediction, target: Target) -> tuple[Tensor, Tensor]:
    """Scores of an image's detections that count, and whether each is right."""
    scores, labels = found["scores"].cpu(), found["labels"].cpu()
    boxes, counted = target["boxes"].cpu(), _counted(target)
    overlap = box_iou(found["boxes"].cpu(), boxes) if len(boxes) else torch.zeros(len(scores), 0)
    crowd = target["iscrowd"].cpu()
    if bool(crowd.any()):
        overlap[:, crowd] = _inside(found["boxes"].cpu(), boxes[crowd])
    overlap = overlap * (labels[:, None] == target["labels"].cpu()[None])
    free = counted.clone()
    keep = torch.ones(len(scores), dtype=torch.bool)
    right = torch.zeros(len(scores), dtype=torch.bool)
    for place in scores.argsort(descending=True, stable=True).tolist():
        near = overlap[place]
        open_to = near * free
        if bool((open_to >= VOC_IOU).any()):
            right[place] = True
            free[int(open_to.argmax())] = False
        elif bool((near[~counted] >= VOC_IOU).any()):
            keep[place] = False
    return scores[keep], right[keep]
