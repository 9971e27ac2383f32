"""A rule for a mean budget: learnt exit scores against confidences, judged on held-out images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tvmkd.base.exits import Rule
from tvmkd.early_exit import calibrate, scores, temperature
from tvmkd.early_exit.assignment import assign, thresholds_of

Array = np.ndarray
Weights = tuple[tuple[float, ...], ...]

FOLDS, ERRORS = 5, 2
CONFIDENCES, SCORES = "confidence", "scores"
KINDS = (CONFIDENCES, SCORES)
"""What is compared with the thresholds: the calibrated confidence alone, or learnt scores."""


@dataclass(frozen=True)
class Result:
    """What a policy does on images: as many leave at each exit as it has learnt.

    Attributes:
        accuracy: 0 to 1.
        lost: share of the images that the last exit has right and the exit taken has wrong.
        cost: mean, at most the budget but for the rounding of shares to whole images.
    """

    accuracy: float
    lost: float
    cost: float


@dataclass(frozen=True)
class Policy:
    """Scores and the shares of images that leave at each exit.

    Attributes:
        shares: of each exit, including the last.
        temperatures: of each exit, including the last.
        weights: of each exit but the last; empty: the confidence.
    """

    shares: tuple[float, ...]
    temperatures: tuple[float, ...]
    weights: Weights = ()

    def rule(self, logits: Sequence[Array]) -> Rule:
        """The rule by which those shares of some images leave; no labels are needed."""
        own = scores.of_exits(logits, self.temperatures, self.weights)
        return Rule(thresholds_of(own, self.shares), self.temperatures, self.weights)

    def evaluate(self, logits: Sequence[Array], labels: Array, costs: Sequence[float]) -> Result:
        """What it does on images that may be others than those it was learnt from.

        Args:
            logits: of each exit, including the last, ``[N, classes]``.
            labels: int64 ``[N]``.
            costs: of running up to and including each exit.
        """
        exits = calibrate.leave_by(logits, self.rule(logits))
        taken, lost = _judged(logits, labels, exits)
        cost = float(np.asarray(costs)[exits].mean())
        return Result(float(taken.mean()), float(lost.mean()), cost)

    def lost(self, logits: Sequence[Array], labels: Array) -> Array:
        """Which images it loses: bool ``[N]``; arguments as of `evaluate`."""
        return _judged(logits, labels, calibrate.leave_by(logits, self.rule(logits)))[1]


def _judged(logits: Sequence[Array], labels: Array, exits: Array) -> tuple[Array, Array]:
    """Whether the exits taken are right, and which images are lost: bool ``[N]`` each."""
    right = np.stack([found.argmax(axis=1) == labels for found in logits])
    taken = right[exits, np.arange(len(labels))]
    return taken, right[-1] & ~taken


@dataclass(frozen=True)
class Choice:
    """Both kinds of policies for a budget, and which is used.

    Attributes:
        kind: the chosen one of `KINDS`.
        policies: of each kind, learnt from the whole validation split.
        lost: of each kind, the share of images lost in cross-validation.
    """

    kind: str
    policies: Mapping[str, Policy] = field(repr=False)
    lost: Mapping[str, float]


def learn(
    kind: str, logits: Sequence[Array], labels: Array, costs: Sequence[float], budget: float
) -> Policy:
    """The policy that loses the fewest images at a mean cost.

    Args:
        kind: one of `KINDS`.
        logits: of each exit, including the last, ``[N, classes]``.
        labels: int64 ``[N]``.
        costs: of running up to and including each exit; any unit, ascending.
        budget: greatest mean cost, at least that of the first exit.

    Raises:
        InputError: a logit is not finite.
    """
    scales = tuple(temperature.fit(found, labels) for found in logits)
    weights = scores.learn(logits, labels, scales) if kind == SCORES else ()
    right = np.stack([found.argmax(axis=1) == labels for found in logits])
    sure = np.stack(
        [calibrate.confidence(each, scale) for each, scale in zip(logits, scales, strict=True)]
    )
    own = scores.of_exits(logits, scales, weights)
    return Policy(assign(own, right, sure, costs, budget), scales, weights)


def choose(logits: Sequence[Array], labels: Array, costs: Sequence[float], budget: float) -> Choice:
    """Learns both kinds and chooses the one that loses fewer images in cross-validation.

    In each of five folds everything, temperatures included, is learnt from the other four. Scores
    are used if they gain more than two standard errors: less may be chance, and the confidence is
    the simpler rule.

    Args:
        logits, labels, costs, budget: see `learn`; of the validation split.

    Raises:
        InputError: a logit is not finite.
    """
    order = np.random.default_rng(0).permutation(len(labels))
    lost = {kind: np.zeros(len(labels)) for kind in KINDS}
    for held in np.array_split(order, min(FOLDS, len(labels))):
        seen = np.setdiff1d(order, held)
        if not len(seen):  # a single image cannot be held out
            break
        for kind in KINDS:
            made = learn(kind, [each[seen] for each in logits], labels[seen], costs, budget)
            lost[kind][held] = made.lost([each[held] for each in logits], labels[held])
    policies = {kind: learn(kind, logits, labels, costs, budget) for kind in KINDS}
    gain = lost[CONFIDENCES] - lost[SCORES]
    better = gain.mean() > ERRORS * gain.std() / np.sqrt(len(labels))
    shares = {kind: float(found.mean()) for kind, found in lost.items()}
    return Choice(SCORES if better else CONFIDENCES, policies, shares)
