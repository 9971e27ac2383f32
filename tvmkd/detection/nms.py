"""Class-wise greedy non-maximum suppression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 128  # boxes that are processed at a time


def suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    threshold: float = 0.5,
) -> NDArray[np.int64]:
    """The boxes that greedy suppression keeps, as ``torchvision.ops.batched_nms``.

    In descending order of scores, a box is removed if a kept box of the same class overlaps it by
    more than ``threshold``. Of equal scores, the first in the input ranks higher.

    Args:
        boxes: ``[n, 4]``, ``x1, y1, x2, y2``.
        scores: ``[n]``.
        labels: ``[n]``.
        threshold: intersection over union, 0 to 1.

    Returns:
        Indices of the kept boxes, best score first.
    """
    # torchvision compares a float32 ratio with a double. With the threshold rounded this way, a
    # float32 comparison gives the same result. (float: numpy would round the other side to float32
    # too.)
    limit = np.float32(threshold)
    if float(limit) > threshold:
        limit = np.nextafter(limit, np.float32(-1))
    # Sorted by class, so that only the last class of a block can continue in the next block.
    left = np.lexsort((-scores, labels))
    kept = [left[:0]]
    while len(left):
        block, left = left[:BLOCK], left[BLOCK:]
        same = labels[block][:, None] == labels[block]
        stay = _settle(np.triu(same & _overlap(boxes, block, block, limit), 1))
        kept.append(block[stay])
        last = labels[block[-1]]
        end = np.searchsorted(labels[left], last, side="right")
        if end:
            rivals = kept[-1][labels[kept[-1]] == last]
            beaten = _overlap(boxes, rivals, left[:end], limit).any(0)
            left = np.concatenate([left[:end][~beaten], left[end:]])
    places = np.sort(np.concatenate(kept))
    return places[np.argsort(-scores[places], kind="stable")]


def _settle(beats: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The kept boxes of a block. ``beats[i, j]``: i has the higher rank and overlaps j.

    A box's state is final once the states of all higher-ranked boxes are. So repeating the step for
    all boxes at once converges to the result of greedy suppression, mostly in a few iterations
    (Cluster-NMS, Zheng et al., 2021).
    """
    stay: NDArray[np.bool_] = np.ones(len(beats), np.bool_)
    while True:
        again = np.logical_not(np.any(beats[stay], axis=0))
        if np.array_equal(again, stay):
            return stay
        stay = again


def _overlap(
    boxes: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    limit: np.float32,
) -> NDArray[np.bool_]:
    """``[rows, columns]``: whether the intersection over union is above ``limit``."""
    left, top, right, bottom = boxes[rows].T[:, :, None]
    others = boxes[columns].T
    # In place: allocating each of these arrays would cost more than the arithmetic.
    shared = np.minimum(right, others[2])
    work = np.maximum(left, others[0])
    np.maximum(np.subtract(shared, work, out=shared), 0, out=shared)
    high = np.minimum(bottom, others[3])
    np.maximum(top, others[1], out=work)
    np.maximum(np.subtract(high, work, out=high), 0, out=high)
    shared *= high
    np.add(
        (right - left) * (bottom - top),
        (others[2] - others[0]) * (others[3] - others[1]),
        out=work,
    )
    work -= shared
    with np.errstate(invalid="ignore", divide="ignore"):  # boxes without area
        shared /= work
        return np.asarray(shared > limit)
