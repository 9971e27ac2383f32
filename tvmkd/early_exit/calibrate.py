"""How sure an exit has to be: thresholds that lose no more than is allowed and save the most."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray

MOST = 4096  # combinations of thresholds that are all looked at
NEVER = 2.0  # a confidence that no image has


@dataclass(frozen=True)
class Calibration:
    """Thresholds, one for each exit but the last, and what they do on the validation split.

    Attributes:
        thresholds: an image leaves at the first exit whose confidence reaches its threshold;
            `NEVER` where none may.
        rates: share of the images that leave at each exit, the last included.
        accuracy: 0 to 1, with the exits.
        full_accuracy: 0 to 1, of the last exit alone.
    """

    thresholds: tuple[float, ...]
    rates: tuple[float, ...]
    accuracy: float
    full_accuracy: float


def confidence(logits: Array) -> Array:
    """The largest softmax probability of each image: ``[N, classes]`` to float64 ``[N]``."""
    wide = logits.astype(np.float64)
    return np.asarray(1.0 / np.exp(wide - wide.max(axis=1, keepdims=True)).sum(axis=1))


def leave(confidences: Sequence[Array], thresholds: Sequence[float]) -> Array:
    """The exit at which each image leaves: int64 ``[N]``, counted from 0; the last is ``len``."""
    out = np.full(len(confidences[0]), len(thresholds), np.int64)
    for index in reversed(range(len(thresholds))):
        out[confidences[index] >= thresholds[index]] = index
    return out


def apply(logits: Sequence[Array], labels: Array, thresholds: Sequence[float]) -> Calibration:
    """What thresholds do on images.

    Args:
        logits: of each exit, the last included, ``[N, classes]``.
        labels: int64 ``[N]``.
        thresholds: of each exit but the last.
    """
    exits = leave([confidence(found) for found in logits[:-1]], thresholds)
    right = np.stack([found.argmax(axis=1) == labels for found in logits])
    rates = np.bincount(exits, minlength=len(logits)) / len(labels)
    return Calibration(
        tuple(float(value) for value in thresholds),
        tuple(float(rate) for rate in rates),
        float(right[exits, np.arange(len(labels))].mean()),
        float(right[-1].mean()),
    )


def calibrate(
    logits: Sequence[Array], labels: Array, costs: Sequence[float], max_drop: float
) -> Calibration:
    """The thresholds with the least mean cost among those that lose at most ``max_drop``.

    Each image is judged by itself, as it will be on the board, where it comes alone. Candidates are
    quantiles of each exit's own confidences, so that an exit with another idea of being sure is
    treated no worse; all their combinations are looked at. What is lost are images that the last
    exit has right and an earlier one wrong; the other way round counts for nothing, since luck on
    the validation split would be spent there and missed on the board.

    Args:
        logits: of each exit, the last included, ``[N, classes]``, on the validation split.
        labels: int64 ``[N]``.
        costs: of running up to and with each exit; any unit, ascending.
        max_drop: share of the images that may be lost so, 0 to 1.

    Returns:
        thresholds `NEVER` for an exit that cannot be taken without losing more.
    """
    sure = [confidence(found) for found in logits[:-1]]
    count = max(2, int(MOST ** (1 / max(1, len(sure)))))
    choices = [
        sorted({*np.quantile(found, np.linspace(0, 1, count - 1)).tolist(), NEVER})
        for found in sure
    ]
    right = np.stack([found.argmax(axis=1) == labels for found in logits])
    images = np.arange(len(labels))
    least, chosen = float(costs[-1]), (NEVER,) * len(sure)
    for thresholds in itertools.product(*choices):
        exits = leave(sure, thresholds)
        lost = float((right[-1] & ~right[exits, images]).mean())
        cost = float(np.asarray(costs)[exits].mean())
        # A hair of slack: means of the same count may differ in the last bit.
        if lost <= max_drop + 1e-9 and cost < least:
            least, chosen = cost, thresholds
    return apply(logits, labels, chosen)
