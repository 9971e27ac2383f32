"""Early exits of a network: when an image leaves at one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NEVER = 2.0
"""A threshold above every possible confidence."""


@dataclass(frozen=True)
class Exits:
    """Early exits of a network in one ONNX file; its outputs are the logits of each exit in order.

    Attributes:
        thresholds: the least confidence at which each exit but the last is taken.
        pieces: SHA-256 of the ONNX file of each piece that the network was joined from.
    """

    thresholds: tuple[float, ...]
    pieces: tuple[str, ...] = ()


def confident(logits: np.ndarray, threshold: float) -> bool:
    """Whether the largest softmax probability reaches the threshold.

    Computed as the C runtime does (``exits.c``), in float64.

    Args:
        logits: of one image, ``[classes]``.
        threshold: 0 to 1, or `NEVER`.
    """
    if not threshold <= 1.0:
        return False
    wide = logits.astype(np.float64)
    # 1 / sum(exp(wide - largest)) is the largest softmax probability. NaN is never confident.
    with np.errstate(invalid="ignore"):
        return bool(np.exp(wide - wide.max()).sum() * threshold <= 1.0)


def exit_taken(logits: Sequence[np.ndarray], thresholds: Sequence[float]) -> int:
    """The exit at which an image leaves, from 0.

    Args:
        logits: of each exit, ``[classes]``; the last exit's may be missing.
        thresholds: of each exit but the last.
    """
    for index, threshold in enumerate(thresholds):
        if confident(logits[index], threshold):
            return index
    return len(thresholds)
