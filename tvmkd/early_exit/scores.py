"""Exit scores: a few features of an exit's logits, weighted to tell who may leave there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvmkd.base import exits
from tvmkd.base.exits import CONFIDENCE, FEATURES

Array = np.ndarray

PENALTY, WEAK = 1.0, 1e-3
"""Of the squared weights, against the loss summed over images; weak for the confidence, so that few
images teach little else."""

TIES = 0.01
"""Least weight of the confidence: images with equal votes would otherwise leave together."""


def of_exits(
    logits: Sequence[Array],
    temperatures: Sequence[float] = (),
    weights: Sequence[Sequence[float]] = (),
) -> list[Array]:
    """The score of each image at each exit but the last: float64 ``[N]`` each.

    Args:
        logits: of each exit, including the last, ``[N, classes]``.
        temperatures, weights: see `tvmkd.base.exits.Rule`.
    """
    rows = weights or [CONFIDENCE] * (len(logits) - 1)
    found = features_of_exits(logits, temperatures)
    return [exits.score(each, row) for each, row in zip(found, rows, strict=True)]


def features_of_exits(logits: Sequence[Array], temperatures: Sequence[float] = ()) -> list[Array]:
    """The features of each image at each exit but the last: float64 ``[N, 4]`` each."""
    scales = temperatures or [1.0] * len(logits)
    found, guesses = [], list[Array]()
    for values, scale in zip(logits[:-1], scales[:-1], strict=True):
        own, chosen = exits.features(values, scale, guesses)
        found.append(own)
        guesses.append(chosen)
    return found


def learn(
    logits: Sequence[Array], labels: Array, temperatures: Sequence[float]
) -> tuple[tuple[float, ...], ...]:
    """The weights of the features at each exit but the last.

    As EENet's exit scores (Ilhan et al., WACV 2024), but a logistic model of four features for
    each exit, and its target is that nothing is lost by leaving: the exit is right, or the last is
    wrong. Weights below 0 are not allowed: a surer exit never has a smaller score.

    Args:
        logits: of each exit, including the last, ``[N, classes]``.
        labels: int64 ``[N]``.
        temperatures: of each exit.

    Returns:
        rows of `tvmkd.base.exits.FEATURES`; the largest softmax probability alone where the images
        teach nothing.
    """
    right = np.stack([found.argmax(axis=1) == labels for found in logits])
    found = features_of_exits(logits, temperatures)
    return tuple(
        _fitted(each, right[index] | ~right[-1], index > 0) for index, each in enumerate(found)
    )


def _fitted(found: Array, safe: Array, votes: bool) -> tuple[float, ...]:
    """Weights, of which the last is 0 without ``votes``; ``safe``: whose leaving loses nothing."""
    from scipy import optimize, special

    if safe.all() or not safe.any():
        return CONFIDENCE
    penalty = np.full(len(FEATURES), PENALTY)
    penalty[0] = WEAK
    sign = np.where(safe, 1.0, -1.0)

    def loss(given: Array) -> tuple[float, Array]:
        weights, bias = given[:-1], given[-1]
        margin = sign * (found @ weights + bias)
        pull = -sign * special.expit(-margin)
        value = np.logaddexp(0, -margin).sum() + penalty @ weights**2 / 2
        return float(value), np.append(found.T @ pull + penalty * weights, pull.sum())

    bounds: list[tuple[float | None, float | None]] = [(0.0, None)] * len(FEATURES)
    if not votes:
        bounds[-1] = (0.0, 0.0)
    bounds.append((None, None))  # the bias
    start = np.zeros(len(FEATURES) + 1)
    weights = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x[:-1]
    total = float(weights.sum())
    if total <= 1e-6:
        return CONFIDENCE
    mixed = (1 - TIES) * weights / total + TIES * np.array(CONFIDENCE)
    return tuple(map(float, mixed / mixed.sum()))
