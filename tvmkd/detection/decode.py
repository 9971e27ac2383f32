"""From a detector's raw outputs to boxes that have a score, before suppression."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvmkd.base.detector_description import Activation, Description
from tvmkd.base.errors import InputError

THRESHOLD = 0.05
# How many candidates suppression gets: RetinaNet's of an image, SSD's of each class.
TOPK: Mapping[Activation, int] = {"sigmoid": 1000, "softmax": 400}
CLAMP = math.log(1000 / 16)  # of dw and dh, torchvision's: no box is above 62.5 times its anchor
SLACK = 1e-3  # of a logit, so that rounding never drops what the exact score would keep


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes of one image.

    Args:
        boxes: float32 ``[n, 4]``, ``x1, y1, x2, y2`` in pixels.
        scores: float32 ``[n]``, 0 to 1.
        labels: int64 ``[n]``, from 1.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, places: NDArray[np.int64]) -> Detections:
        """Those at ``places``, in that order."""
        return Detections(self.boxes[places], self.scores[places], self.labels[places])

    def to_list(self, classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """One mapping a box: ``class``, ``label``, ``score`` and ``box``, ready for JSON."""
        return [
            {"class": classes[label - 1], "label": label, "score": score, "box": box}
            for box, score, label in zip(
                self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), strict=True
            )
        ]


def decode(
    logits: NDArray[np.float32],
    offsets: NDArray[np.float32],
    description: Description,
    threshold: float = THRESHOLD,
    topk: int | None = None,
) -> list[Detections]:
    """The candidates of each image, best score first, as torchvision's RetinaNet and SSD have them.

    RetinaNet there keeps the best ``topk`` of each level of its pyramid, here of an image: the same
    where no more than ``topk`` of an image are above the threshold.

    Args:
        logits: ``[N, A, K]``.
        offsets: ``[N, A, 4]``.
        description: of the detector.
        threshold: candidates have a score above it; 0 to 1.
        topk: how many there may be, of an image (sigmoid) or of a class (softmax); None: `TOPK`.

    Returns:
        For each image its candidates, in pixels of the input, cut at its border.

    Raises:
        InputError: the outputs are not numbers.
    """
    find = _sigmoid if description.activation == "sigmoid" else _softmax
    most = TOPK[description.activation] if topk is None else topk
    found = []
    for image_logits, image_offsets in zip(logits, offsets, strict=True):
        anchors, labels, scores = find(image_logits, threshold, most)
        boxes = boxes_of(image_offsets[anchors], description.anchors[anchors], description)
        if np.isnan(image_logits.max(initial=-np.inf)) or np.isnan(boxes).any():
            raise InputError(
                "the detector answers NaN: float16 or a compiler has broken it; export it again"
            )
        found.append(Detections(boxes, scores, labels))
    return found


Found = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Of each candidate its anchor, its label and its score."""


def _sigmoid(logits: NDArray[np.float32], threshold: float, most: int) -> Found:
    odds = threshold / (1 - threshold) if threshold < 1 else math.inf
    # On logits, so that only what passes costs an exponential.
    places = np.flatnonzero(logits > (math.log(odds) if odds > 0 else -math.inf) - SLACK)
    with np.errstate(over="ignore"):
        scores = np.asarray(1 / (1 + np.exp(-logits.ravel()[places])), np.float32)
    exact = scores > threshold
    places, scores = places[exact], scores[exact]
    if len(places) > most:
        best = np.sort(np.argpartition(-scores, most - 1)[:most])
        places, scores = places[best], scores[best]
    order = np.argsort(-scores, kind="stable")
    anchors, classes = np.divmod(places[order], logits.shape[1])
    return anchors, classes + 1, scores[order]


def _softmax(logits: NDArray[np.float32], threshold: float, most: int) -> Found:
    # A score is at most exp(logit - the background's logit): what that rules out costs no more.
    least = (math.log(threshold) if threshold > 0 else -math.inf) - SLACK
    rows = np.flatnonzero((logits[:, 1:] > logits[:, :1] + least).any(1))
    chosen = logits[rows]
    powers = np.exp(chosen - chosen.max(1, keepdims=True))
    scores = (powers / powers.sum(1, keepdims=True))[:, 1:]
    inner, classes = np.nonzero(scores > threshold)
    found = scores[inner, classes]
    # Best first inside each class, of which the first `most` stay.
    order = np.lexsort((-found, classes))
    ordered = classes[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    order = order[rank < most]
    order = order[np.argsort(-found[order], kind="stable")]
    return rows[inner[order]], classes[order] + 1, found[order]


def boxes_of(
    offsets: NDArray[np.float32], anchors: NDArray[np.float32], description: Description
) -> NDArray[np.float32]:
    """Boxes in pixels of the input, cut at its border: torchvision's ``BoxCoder.decode_single``.

    Args:
        offsets: ``[n, 4]``.
        anchors: ``[n, 4]``, of the same places.
        description: of the detector.
    """
    moves = offsets / np.asarray(description.box_weights, np.float32)
    sides = anchors[:, 2:] - anchors[:, :2]
    centres = anchors[:, :2] + np.float32(0.5) * sides
    centres = moves[:, :2] * sides + centres
    halves = np.float32(0.5) * (np.exp(np.minimum(moves[:, 2:], np.float32(CLAMP))) * sides)
    boxes = np.concatenate([centres - halves, centres + halves], axis=1)
    return np.asarray(boxes.clip(0, description.size))
