"""How well a detector finds things: decoded, suppressed and scored as it is where it runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tvmkd.data.detection.metrics import MeanAP, Prediction, Scores
from tvmkd.detection.decode import decode
from tvmkd.detection.nms import suppress
from tvmkd.distill.detector.views import Views
from tvmkd.models.detectors import Dense

MOST = 100  # detections of an image, COCO's limit
BATCH = 32
THRESHOLD = 0.01  # average precision also counts what is found late


def evaluate(network: Dense, views: Views, classes: Sequence[str], device: torch.device) -> Scores:
    """Average precision over a whole split, boxes in pixels of the original images.

    The network is in evaluation mode afterwards. Full precision: it is what is exported.

    Args:
        views: without augmentation.
    """
    network.eval()
    description = network.describe(classes)
    metric = MeanAP(classes)
    places = range(len(views))
    for first in range(0, len(places), BATCH):
        chosen = places[first : first + BATCH]
        images, _ = views.batch(chosen)
        with torch.inference_mode():
            logits, offsets = network(images.to(device, memory_format=torch.channels_last))
        found = decode(logits.cpu().numpy(), offsets.cpu().numpy(), description, THRESHOLD)
        predictions: list[Prediction] = []
        for place, candidates in zip(chosen, found, strict=True):
            kept = suppress(candidates.boxes, candidates.scores, candidates.labels)[:MOST]
            width, height = views.images.annotations[place].size
            scale = torch.tensor([width, height, width, height]) / views.size
            predictions.append(
                {
                    "boxes": torch.from_numpy(candidates.boxes[kept]) * scale,
                    "scores": torch.from_numpy(candidates.scores[kept]),
                    "labels": torch.from_numpy(candidates.labels[kept]),
                }
            )
        metric.update(predictions, [views.images.target(place) for place in chosen])
    return metric.compute()


def sample(views: Views, count: int) -> Tensor:
    """Real inputs, evenly spread over a split: float32 ``[count, 3, size, size]``."""
    picks = torch.linspace(0, len(views) - 1, min(count, len(views))).round().long().tolist()
    return views.batch(picks)[0]
