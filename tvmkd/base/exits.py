"""Early exits of a network: when an image leaves at one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NEVER = 2.0
"""A threshold above every possible confidence and score."""

FEATURES = ("probability", "margin", "certainty", "agreement")
"""What a score is made of, each 0 to 1: see `features`."""

CONFIDENCE = (1.0, 0.0, 0.0, 0.0)
"""The weights with which the score is the largest softmax probability."""


@dataclass(frozen=True)
class Rule:
    """When an image leaves at an exit.

    Attributes:
        thresholds: the least confidence, or score, at which each exit but the last is taken.
        temperatures: of each exit, including the last: its logits are divided by it (Guo et al.,
            2017). Empty: each is 1.
        weights: of each exit but the last, one for each of `FEATURES`; they are 0 or more and add
            up to 1, and their sum with the features is the exit's score. Empty: the score is the
            largest softmax probability.
    """

    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...] = ()
    weights: tuple[tuple[float, ...], ...] = ()

    def leaves(self, index: int, logits: np.ndarray, guesses: list[int]) -> bool:
        """Whether an image leaves at an exit.

        Args:
            index: of the exit, from 0, not the last.
            logits: of that exit, ``[classes]``.
            guesses: the classes that the exits before chose; this exit's choice is appended.
        """
        temperature = self.temperatures[index] if self.temperatures else 1.0
        if not self.weights:
            return confident(logits, self.thresholds[index], temperature)
        before = [np.array([guess]) for guess in guesses]
        found, guess = features(logits[None], temperature, before)
        guesses.append(int(guess[0]))
        threshold = self.thresholds[index]
        return bool(threshold <= 1.0 and score(found, self.weights[index])[0] >= threshold)

    def taken(self, logits: Sequence[np.ndarray]) -> int:
        """The exit at which an image leaves, from 0.

        Args:
            logits: of each exit, ``[classes]``; the last exit's may be missing.
        """
        guesses: list[int] = []
        for index in range(len(self.thresholds)):
            if self.leaves(index, logits[index], guesses):
                return index
        return len(self.thresholds)

    @property
    def scaling(self) -> dict[str, Any]:
        """JSON-safe: the temperatures and weights, where there are any."""
        found = {"temperatures": self.temperatures, "weights": self.weights}
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True)
class Exits(Rule):
    """Early exits of a network in one ONNX file; its outputs are the logits of each exit in order.

    Attributes:
        pieces: SHA-256 of the ONNX file of each piece that the network was joined from.
    """

    pieces: tuple[str, ...] = ()


def rule_of(data: Mapping[str, Any]) -> Rule:
    """The rule in a manifest or in ``exits.json``.

    Raises:
        KeyError, TypeError, ValueError: the data is no rule.
    """
    return Rule(
        tuple(float(value) for value in data["thresholds"]),
        tuple(float(value) for value in data.get("temperatures", ())),
        tuple(tuple(float(each) for each in row) for row in data.get("weights", ())),
    )


def rule_error(rule: Rule) -> str | None:
    """What is wrong with a rule that was read from a file; None: nothing."""
    count = len(rule.thresholds)
    if not all(0 <= value <= NEVER for value in rule.thresholds):
        return f"a threshold is not from 0 to {NEVER:g}"
    if rule.temperatures and len(rule.temperatures) != count + 1:
        return f"{len(rule.temperatures)} temperatures for {count + 1} exits"
    if not all(0 < value < math.inf for value in rule.temperatures):
        return "a temperature is not above 0"
    if rule.weights and [len(row) for row in rule.weights] != [len(FEATURES)] * count:
        return f"its weights are not {count} rows of {len(FEATURES)}"
    if not all(min(row) >= 0 and abs(sum(row) - 1) < 1e-6 for row in rule.weights):
        return "the weights of an exit do not add up to 1"
    return None


def confident(logits: np.ndarray, threshold: float, temperature: float = 1.0) -> bool:
    """Whether the largest softmax probability reaches the threshold.

    Computed as the C runtime does (``exits.c``), in float64.

    Args:
        logits: of one image, ``[classes]``.
        threshold: 0 to 1, or `NEVER`.
        temperature: by which the logits are divided.
    """
    if not threshold <= 1.0:
        return False
    wide = logits.astype(np.float64)
    # 1 / sum(exp(wide - largest)) is the largest softmax probability. NaN is never confident.
    with np.errstate(invalid="ignore"):
        return bool(np.exp((wide - wide.max()) / temperature).sum() * threshold <= 1.0)


def features(
    logits: np.ndarray, temperature: float = 1.0, before: Sequence[np.ndarray] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """What an exit's score is made of, in float64, as the C runtime computes it.

    ``probability`` is the largest softmax probability, ``margin`` its distance to the second
    largest, ``certainty`` 1 less the entropy over its greatest possible value, and ``agreement``
    the share of the exits before that chose the same class (0 at the first exit).

    Args:
        logits: ``[N, classes]``.
        temperature: by which they are divided.
        before: the classes that each exit before chose, int64 ``[N]``.

    Returns:
        features ``[N, 4]``, and the classes chosen here, int64 ``[N]``. If a softmax is not finite,
        the features are NaN and the class is -1.
    """
    wide = logits.astype(np.float64)
    classes = wide.shape[1]
    with np.errstate(invalid="ignore"):
        shifted = (wide - wide.max(axis=1, keepdims=True)) / temperature
        powers = np.exp(shifted)
        total = powers.sum(axis=1)
        second = np.partition(powers, -2, axis=1)[:, -2] if classes > 1 else np.zeros(len(wide))
        # exp underflows to 0 where its logit may be infinite.
        spread = np.where(powers > 0, powers * shifted, 0.0).sum(axis=1)
        entropy = np.log(total) - spread / total
        certainty = 1 - entropy / math.log(classes) if classes > 1 else np.ones(len(wide))
    chosen = np.where(np.isnan(total), -1, wide.argmax(axis=1))
    votes = np.zeros(len(wide))
    for guess in before:
        votes += guess == chosen
    agreement = votes / max(1, len(before))
    found = np.stack([1 / total, (1 - second) / total, certainty, agreement], axis=1)
    found[np.isnan(total)] = np.nan
    return found, chosen


def score(found: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """The scores of features: ``[N, 4]`` to float64 ``[N]``, 0 to 1 within rounding."""
    total = np.zeros(len(found))
    for column, weight in enumerate(weights):
        total = total + weight * found[:, column]
    return total
