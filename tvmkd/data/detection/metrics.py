"""Mean average precision as COCO and as PASCAL VOC define it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from tvmkd.base.errors import InputError
from tvmkd.data.detection.dataset import Target

# float64 as in COCO's own code: with torchmetrics' float32 default an IoU of exactly 0.6 is a miss.
COCO_IOU: list[float] = np.linspace(0.5, 0.95, 10).tolist()
VOC_IOU = 0.5
RECALLS: list[float] = np.linspace(0.0, 1.0, 101).tolist()
# COCO's limit. With any other limit the backend returns -1.
MOST = [1, 10, 100]


class Prediction(TypedDict):
    """A detector's output for one image, in torchvision's format."""

    boxes: Tensor
    """float32 ``[n, 4]``: ``x1, y1, x2, y2`` in pixels"""
    scores: Tensor
    """float32 ``[n]``"""
    labels: Tensor
    """int64 ``[n]``, from 1"""


@dataclass(frozen=True)
class Scores:
    """Average precision, 0 to 1, over the classes in the targets.

    Args:
        coco: mean over ten IoU thresholds from 0.50 to 0.95.
        coco_50: average precision at IoU 0.50.
        coco_75: average precision at IoU 0.75.
        voc: average precision at IoU 0.5, difficult objects ignored.
        coco_classes: ``coco`` of each class.
        voc_classes: ``voc`` of each class.
    """

    coco: float
    coco_50: float
    coco_75: float
    voc: float
    coco_classes: dict[str, float]
    voc_classes: dict[str, float]


class MeanAP:
    """Collects predictions batch by batch, then scores them.

    Both styles are COCO's evaluation (Lin et al. 2014, by torchmetrics and pycocotools): precision
    is interpolated at 101 recalls, and only the 100 best detections of an image count. Crowds are
    ignored as in COCO: a detection inside a crowd is neither right nor wrong.

    In COCO style, difficult objects are ordinary objects, since COCO has no such flag. VOC style
    ignores them as VOC's development kit does: they need not be found. A detection is neither right
    nor wrong if the object of its class with the largest IoU is difficult and this IoU is at least
    0.5, even if there are several such detections. Two differences from VOC's kit remain: since
    2010 the kit uses the exact area under the curve (11 recalls before), and it does not match a
    detection to a second object if the best one is already matched.

    Args:
        classes: the class map; label 1 is the first.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        from torchmetrics.detection import MeanAveragePrecision

        def metric(thresholds: list[float]) -> Any:
            made = MeanAveragePrecision(
                iou_thresholds=thresholds,
                rec_thresholds=RECALLS,
                max_detection_thresholds=MOST,
                class_metrics=True,
                backend="pycocotools",
            )
            made.warn_on_many_detections = False  # the limit is part of the metric, see above
            return made

        self._classes = tuple(classes)
        self._coco, self._voc = metric(COCO_IOU), metric([VOC_IOU])
        self._objects = 0

    def update(self, predictions: Sequence[Prediction], targets: Sequence[Target]) -> None:
        """Adds the predictions and the targets of some images.

        Raises:
            InputError: the numbers of predictions and targets differ, a label is not in the class
                map, or a score or a corner is not finite.
        """
        if len(predictions) != len(targets):
            raise InputError(
                f"{len(predictions)} predictions for {len(targets)} targets; give one an image"
            )
        found = [_plain(prediction) for prediction in predictions]
        there = [_ordinary(target) for target in targets]
        for prediction, target in zip(found, targets, strict=True):
            self._check(prediction, target["image_id"])
        kept = [
            _without_difficult(prediction, target)
            for prediction, target in zip(found, targets, strict=True)
        ]
        self._coco.update(found, there)
        self._voc.update([prediction for prediction, _ in kept], [target for _, target in kept])
        self._objects += sum(int((~target["iscrowd"]).sum()) for target in targets)

    def compute(self) -> Scores:
        """The scores of all added images.

        ``voc`` is NaN if all objects are difficult.

        Raises:
            InputError: the targets have no objects.
        """
        if not self._objects:
            raise InputError("no target has an object, so there is nothing to score; add some")
        coco, voc = self._coco.compute(), self._voc.compute()
        return Scores(
            coco=_value(coco["map"]),
            coco_50=_value(coco["map_50"]),
            coco_75=_value(coco["map_75"]),
            voc=_value(voc["map"]),
            coco_classes=self._by_class(coco),
            voc_classes=self._by_class(voc),
        )

    def _check(self, prediction: dict[str, Tensor], image_id: int) -> None:
        labels = prediction["labels"]
        if labels.numel() and not 1 <= int(labels.min()) <= int(labels.max()) <= len(self._classes):
            raise InputError(
                f"predictions of image {image_id}: labels from {int(labels.min())} to "
                f"{int(labels.max())}, but the {len(self._classes)} classes count from 1"
            )
        for name in ("boxes", "scores"):
            if not bool(torch.isfinite(prediction[name]).all()):
                raise InputError(
                    f"predictions of image {image_id}: {name} that are not finite; "
                    "look for a diverged model"
                )

    def _by_class(self, result: dict[str, Tensor]) -> dict[str, float]:
        """The score of each class. A class that is only predicted has -1 and is left out."""
        labels, values = result["classes"].reshape(-1), result["map_per_class"].reshape(-1)
        return {
            self._classes[label - 1]: value
            for label, value in zip(labels.tolist(), values.tolist(), strict=True)
            if value >= 0
        }


def _plain(prediction: Prediction) -> dict[str, Tensor]:
    return {
        "boxes": prediction["boxes"].detach().cpu().float(),
        "scores": prediction["scores"].detach().cpu().float(),
        "labels": prediction["labels"].detach().cpu(),
    }


def _ordinary(target: Target) -> dict[str, Tensor]:
    return {
        "boxes": target["boxes"].cpu(),
        "labels": target["labels"].cpu(),
        "iscrowd": target["iscrowd"].cpu().long(),
    }


def _without_difficult(
    prediction: dict[str, Tensor], target: Target
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Predictions and targets without difficult objects and their detections."""
    from torchvision.ops import box_iou

    objects = _ordinary(target)
    difficult = target["difficult"].cpu()
    kept = {name: values[~difficult] for name, values in objects.items()}
    if not difficult.any() or not len(prediction["labels"]):
        return prediction, kept
    ious = box_iou(prediction["boxes"], objects["boxes"])
    same = prediction["labels"][:, None] == objects["labels"]
    ious = ious * (same & (objects["iscrowd"] == 0))
    best, place = ious.max(1)
    drop = (best >= VOC_IOU) & difficult[place]
    return {name: values[~drop] for name, values in prediction.items()}, kept


def _value(score: Tensor) -> float:
    """COCO returns -1 if there is nothing to average."""
    return float(score) if float(score) >= 0 else float("nan")
