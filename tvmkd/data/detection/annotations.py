"""The annotation of one image, and the checks of its boxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvmkd.base.errors import InputError

# Tools count pixels from 0 or from 1, and round: differences up to this size need no warning.
ROUNDING = 1.0


@dataclass(frozen=True)
class Annotation:
    """One image and its objects.

    Args:
        image: the file.
        image_id: a number, unique in its split.
        size: ``(width, height)`` in pixels, as annotated.
        boxes: float32 ``[n, 4]``, ``x1, y1, x2, y2`` in pixels from the left upper corner of the
            image, ``x2`` and ``y2`` exclusive.
        labels: int64 ``[n]``, from 1.
        difficult: bool ``[n]``, VOC's flag for objects that are hard to recognise.
        crowd: bool ``[n]``, COCO's ``iscrowd``: a region of objects without separate boxes.
        clipped: number of boxes that exceeded the image and were clipped.
    """

    image: Path
    image_id: int
    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
    clipped: int = 0

    @property
    def objects(self) -> int:
        """Number of objects to train on: all except crowds."""
        return int((~self.crowd).sum())


def fit_boxes(boxes: np.ndarray, size: tuple[int, int], where: str) -> tuple[np.ndarray, int]:
    """Clips boxes to their image.

    Args:
        boxes: ``[n, 4]`` as ``x1, y1, x2, y2``, pixels.
        size: ``(width, height)`` of the image.
        where: source of the boxes, for error messages.

    Returns:
        float32 ``[n, 4]``, and the number of boxes that lost more than rounding explains (one
        pixel).

    Raises:
        InputError: a box has no area, swapped corners, or no pixel in the image.
    """
    if not len(boxes):
        return np.zeros((0, 4), np.float32), 0
    inside = np.clip(boxes, 0.0, np.array([*size, *size], np.float64))
    finite = np.all(np.isfinite(boxes), axis=1)
    upright = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    seen = np.all(inside[:, 2:] > inside[:, :2], axis=1)
    for number in np.flatnonzero(~(finite & upright & seen))[:1]:
        if not finite[number]:
            problem = "is not made of finite numbers"
        elif not upright[number]:
            problem = "has its corners the wrong way round, or no area"
        else:
            problem = f"lies outside of its image of {size[0]} x {size[1]} pixels"
        corners = ", ".join(f"{value:g}" for value in boxes[number])
        raise InputError(f"{where}: box {number + 1} ({corners}) {problem}; correct or remove it")
    clipped = int((np.abs(boxes - inside).max(1) > ROUNDING).sum())
    return inside.astype(np.float32), clipped
