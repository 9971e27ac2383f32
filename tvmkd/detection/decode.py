"""Decodes a detector's raw outputs to boxes with scores, before suppression."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvmkd.base.detector_description import CLAMP, SLACK, THRESHOLD, TOPK, Description
from tvmkd.base.errors import InputError


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
        """The boxes at the indices ``places``, in that order."""
        return Detections(self.boxes[places], self.scores[places], self.labels[places])

    def to_list(self, classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """One JSON-safe mapping per box: ``class``, ``label``, ``score`` and ``box``."""
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
    """The candidates of each image, best score first, as in torchvision's RetinaNet and SSD.

    Torchvision's RetinaNet keeps the best ``topk`` of each pyramid level, this function those of
    the image. Results are the same if at most ``topk`` candidates of an image are above the
    threshold.

    Args:
        logits: ``[N, A, K]``.
        offsets: ``[N, A, 4]``.
        description: the detector's description.
        threshold: candidates have a score above it; 0 to 1.
        topk: largest number of candidates per image (sigmoid) or per class (softmax), of equal
            scores the first ones; None: `TOPK`.

    Returns:
        For each image its candidates, in pixels of the input, clipped to the input.

    Raises:
        InputError: an output is NaN.
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
    # Compared as logits, so that only candidates above the threshold need an exponential.
    places = np.flatnonzero(logits > (math.log(odds) if odds > 0 else -math.inf) - SLACK)
    with np.errstate(over="ignore"):
        scores = np.asarray(1 / (1 + _exp(-logits.ravel()[places])), np.float32)
    exact = scores > threshold
    places, scores = places[exact], scores[exact]
    if len(places) > most:
        best = _best(scores, most)
        places, scores = places[best], scores[best]
    order = np.argsort(-scores, kind="stable")
    anchors, classes = np.divmod(places[order], logits.shape[1])
    return anchors, classes + 1, scores[order]


def _best(scores: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """The places of the ``most`` best scores, sorted; of equal scores the first ones."""
    least = np.partition(scores, -most)[-most]
    above = np.flatnonzero(scores > least)
    level = np.flatnonzero(scores == least)[: most - len(above)]
    return np.sort(np.concatenate([above, level]))


def _exp(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The exponential in double precision.

    Rounded to float32 it is the same everywhere, in the C code of standalone libraries too; numpy's
    own of float32 differs from CPU to CPU.
    """
    return np.asarray(np.exp(values.astype(np.float64)))


def _softmax(logits: NDArray[np.float32], threshold: float, most: int) -> Found:
    # A score is at most exp(logit - background's logit): this rules out most candidates cheaply.
    least = (math.log(threshold) if threshold > 0 else -math.inf) - SLACK
    rows = np.flatnonzero((logits[:, 1:] > logits[:, :1] + least).any(1))
    chosen = logits[rows]
    powers = _exp(chosen - chosen.max(1, keepdims=True))
    scores = (powers / powers.sum(1, keepdims=True))[:, 1:].astype(np.float32)
    inner, classes = np.nonzero(scores > threshold)
    found = scores[inner, classes]
    # Best first inside each class; the first `most` of each class are kept.
    order = np.lexsort((-found, classes))
    ordered = classes[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    order = order[rank < most]
    order = order[np.argsort(-found[order], kind="stable")]
    return rows[inner[order]], classes[order] + 1, found[order]


def boxes_of(
    offsets: NDArray[np.float32], anchors: NDArray[np.float32], description: Description
) -> NDArray[np.float32]:
    """Boxes in pixels of the input, clipped to it: torchvision's ``BoxCoder.decode_single``.

    Args:
        offsets: ``[n, 4]``.
        anchors: ``[n, 4]``, the anchors of these offsets.
        description: the detector's description.
    """
    moves = offsets / np.asarray(description.box_weights, np.float32)
    sides = anchors[:, 2:] - anchors[:, :2]
    centres = anchors[:, :2] + np.float32(0.5) * sides
    centres = moves[:, :2] * sides + centres
    growth = _exp(np.minimum(moves[:, 2:], np.float32(CLAMP))).astype(np.float32)
    halves = np.float32(0.5) * (growth * sides)
    boxes = np.concatenate([centres - halves, centres + halves], axis=1)
    return np.asarray(boxes.clip(0, description.size))
