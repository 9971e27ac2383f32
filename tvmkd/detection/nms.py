"""Class-wise greedy non-maximum suppression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 128  # boxes that are settled at a time


def suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    threshold: float = 0.5,
) -> NDArray[np.int64]:
    """What greedy suppression keeps, as ``torchvision.ops.batched_nms`` does.

    From the best score down, a box goes where one of its class that was kept overlaps it by more
    than ``threshold``. Of equal scores the one that comes first is the better.

    Args:
        boxes: ``[n, 4]``, ``x1, y1, x2, y2``.
        scores: ``[n]``.
        labels: ``[n]``.
        threshold: intersection over union, 0 to 1.

    Returns:
        Places of the boxes that stay, best score first.
    """
    # torchvision compares a float32 ratio with a double; so rounded, float32 says the same. (float:
    # numpy would round the other side to float32 as well.)
    limit = np.float32(threshold)
    if float(limit) > threshold:
        limit = np.nextafter(limit, np.float32(-1))
    # By class, so that what a block leaves open is the rest of its last class alone.
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
    """Which boxes of a block stay: ``beats[i, j]``: i is the better and overlaps j.

    A box's fate is final once that of all better ones is, so repeating the step for all boxes at
    once ends at what greedy suppression gives, mostly in a few rounds (Cluster-NMS, Zheng et al.,
    2021).
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
    # In place: fresh memory for each of these costs more than the arithmetic.
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
    with np.errstate(invalid="ignore", divide="ignore"):  # boxes without an area
        shared /= work
        return np.asarray(shared > limit)
