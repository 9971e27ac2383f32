"""Calibrates the exits' confidence thresholds: least cost within the allowed loss of accuracy."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tvmkd.base.exits import NEVER, Rule
from tvmkd.early_exit import scores

Array = np.ndarray

MOST = 4096  # limit of the threshold combinations, all of which are evaluated


@dataclass(frozen=True)
class Calibration:
    """A threshold for each exit except the last, and their effect on the validation split.

    Attributes:
        rule: an image leaves at the first exit whose confidence or score reaches its threshold;
            the threshold `NEVER` disables an exit.
        rates: share of the images that leave at each exit, including the last.
        accuracy: accuracy with all exits, 0 to 1.
        full_accuracy: accuracy of the last exit alone, 0 to 1.
    """

    rule: Rule
    rates: tuple[float, ...]
    accuracy: float
    full_accuracy: float


def confidence(logits: Array, temperature: float = 1.0) -> Array:
    """The largest softmax probability of each image: ``[N, classes]`` to float64 ``[N]``."""
    wide = logits.astype(np.float64)
    shifted = (wide - wide.max(axis=1, keepdims=True)) / temperature
    return np.asarray(1.0 / np.exp(shifted).sum(axis=1))


def leave(confidences: Sequence[Array], thresholds: Sequence[float]) -> Array:
    """The index of the exit of each image, from 0 to ``len(thresholds)``: int64 ``[N]``."""
    out = np.full(len(confidences[0]), len(thresholds), np.int64)
    for index in reversed(range(len(thresholds))):
        out[confidences[index] >= thresholds[index]] = index
    return out


def leave_by(logits: Sequence[Array], rule: Rule) -> Array:
    """The index of the exit of each image: int64 ``[N]``.

    Args:
        logits: logits of each exit, including the last, ``[N, classes]``.
        rule: of the network.
    """
    scales = rule.temperatures or [1.0] * len(logits)
    if rule.weights:
        return leave(scores.of_exits(logits, scales, rule.weights), rule.thresholds)
    sure = [confidence(found, scale) for found, scale in zip(logits, scales, strict=True)]
    return leave(sure[:-1], rule.thresholds)


def apply(logits: Sequence[Array], labels: Array, rule: Rule) -> Calibration:
    """Evaluates a rule on images.

    Args:
        logits: logits of each exit, including the last, ``[N, classes]``.
        labels: int64 ``[N]``.
        rule: of the network.
    """
    exits = leave_by(logits, rule)
    right = np.stack([found.argmax(axis=1) == labels for found in logits])
    rates = np.bincount(exits, minlength=len(logits)) / len(labels)
    return Calibration(
        rule,
        tuple(float(rate) for rate in rates),
        float(right[exits, np.arange(len(labels))].mean()),
        float(right[-1].mean()),
    )


def calibrate(
    logits: Sequence[Array],
    labels: Array,
    costs: Sequence[float],
    max_drop: float,
    temperatures: Sequence[float] = (),
) -> Calibration:
    """Picks the threshold combination of least mean cost that loses at most ``max_drop``.

    Each image is evaluated alone, as on the board. Candidate thresholds are quantiles of each
    exit's confidences, so that exits with differently scaled confidences are treated alike; all
    combinations are evaluated. An image is lost if the last exit classifies it correctly and the
    exit where it leaves does not. The opposite case does not count as a gain: it may be chance on
    the validation split, and would allow more losses on the board.

    Args:
        logits: logits of each exit, including the last, ``[N, classes]``, on the validation split.
        labels: int64 ``[N]``.
        costs: cost of running the network up to and including each exit; any unit, ascending.
        max_drop: largest share of lost images, 0 to 1.
        temperatures: of each exit, including the last; empty: 1.

    Returns:
        the calibration; an exit that would lose more than that has the threshold `NEVER`.
    """
    scales = temperatures or [1.0] * len(logits)
    sure = [confidence(found, scale) for found, scale in zip(logits, scales, strict=True)][:-1]
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
        # A small tolerance: means of the same count may differ in the last bit.
        if lost <= max_drop + 1e-9 and cost < least:
            least, chosen = cost, thresholds
    return apply(logits, labels, Rule(tuple(map(float, chosen)), tuple(temperatures)))
