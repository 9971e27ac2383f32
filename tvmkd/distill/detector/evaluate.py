"""A detector's average precision: decoded, suppressed and scored as it is where it runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from tvmkd.base.detector_description import Description
from tvmkd.data.detection.dataset import Target
from tvmkd.data.detection.metrics import MeanAP, Prediction, Scores
from tvmkd.data.prefetch import ahead
from tvmkd.detection.decode import decode
from tvmkd.detection.nms import suppress
from tvmkd.distill.detector.views import Views
from tvmkd.distill.distributed import ALONE, Team

MOST = 100  # detections of an image, COCO's limit
BATCH = 32
THRESHOLD = 0.01  # average precision also counts what is found late


def measure(
    run: Callable[[Tensor], Any], views: Views, description: Description, team: Team = ALONE
) -> Scores:
    """Average precision over a whole split, boxes in pixels of the original images.

    Args:
        run: from images ``[n, 3, size, size]`` on the CPU to logits and offsets.
        views: the split, without augmentation.
        description: how the outputs are read.
        team: the split is shared out over it.

    Returns:
        The same scores in each process.
    """
    found = predict(run, views, description, team)
    metric = MeanAP(description.classes)
    metric.update(found, targets(views))
    return metric.compute()


def targets(views: Views) -> list[Target]:
    """The objects of each image of a split, boxes in pixels of the original images."""
    return [views.images.target(place) for place in range(len(views))]


def predict(
    run: Callable[[Tensor], Any],
    views: Views,
    description: Description,
    team: Team = ALONE,
    threshold: float = THRESHOLD,
) -> list[Prediction]:
    """The detections of each image of a split, in order; arguments as for `measure`.

    Args:
        threshold: least score of a detection.
    """
    found: list[tuple[int, Prediction]] = []
    order = torch.split(torch.arange(team.rank, len(views), team.size), BATCH)

    def load(places: Tensor) -> Tensor:
        return views.batch(places.tolist())[0]

    with closing(ahead(order, [load])) as coming:
        for images, places in zip(coming, order, strict=True):
            logits, offsets = (output.cpu().numpy() for output in run(images))
            candidates = decode(logits, offsets, description, threshold)
            for place, boxes in zip(places.tolist(), candidates, strict=True):
                kept = suppress(boxes.boxes, boxes.scores, boxes.labels)[:MOST]
                width, height = views.images.annotations[place].size
                scale = torch.tensor([width, height, width, height]) / views.size
                prediction: Prediction = {
                    "boxes": torch.from_numpy(boxes.boxes[kept]) * scale,
                    "scores": torch.from_numpy(boxes.scores[kept]),
                    "labels": torch.from_numpy(boxes.labels[kept]),
                }
                found.append((place, prediction))
    together = sorted(team.gather(found), key=lambda one: one[0])
    return [prediction for _, prediction in together]
