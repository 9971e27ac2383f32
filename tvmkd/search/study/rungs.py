"""Trainings are short first, and go on if they survive: at which epochs, and which do.

A study with one objective asks an Optuna pruner: asynchronous successive halving (Li et al., "A
System for Massively Parallel Hyperparameter Tuning", 2020) or Hyperband. Those know one objective
only, so a front has the rule `beaten`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

Stopping = Literal["halving", "hyperband", "never"]

REDUCTION = 3
"""A rung is this many times as long as the one before, and one of so many survives it."""
RUNGS = 2
"""Rungs before the end of the training."""
LEAST_STEPS = 200
"""Steps of the optimiser before which no network is judged: many have learnt nothing by then."""
WHOLE = 4
"""Networks that are trained to the end before halving ends trainings."""
RIVALS = 2
"""`beaten`: how many rivals it takes. One may have had luck with its seed."""
SIGMAS = 2.0
"""`beaten`: how many standard errors better a rival has to be."""


def rungs(epochs: int, steps: int, stopping: Stopping) -> list[int]:
    """The epochs after which a training is judged, in order; the end is not one.

    Args:
        epochs: of a whole training.
        steps: of one epoch.
        stopping: what ends trainings.
    """
    found: list[int] = []
    for place in range(RUNGS, 0, -1):
        rung = max(1, epochs // REDUCTION**place)
        if rung not in found and rung < epochs and rung * steps >= LEAST_STEPS:
            found.append(rung)
    return [] if stopping == "never" else found


def pruner(epochs: int, steps: int, stopping: Stopping) -> BasePruner:
    """The pruner of a study with one objective; see `rungs`."""
    from optuna import pruners

    judged = rungs(epochs, steps, stopping)
    if not judged:
        return pruners.NopPruner()
    first = judged[0]
    if stopping == "hyperband":
        return pruners.HyperbandPruner(
            min_resource=first, max_resource=epochs, reduction_factor=REDUCTION
        )
    halving = pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=REDUCTION)
    return _later(halving)


def _later(pruner: BasePruner) -> BasePruner:
    """A pruner that ends no training before `WHOLE` have been trained to the end.

    One of nine survives two rungs: a short study would have a single network to show, the first.
    """
    from optuna.pruners import BasePruner
    from optuna.trial import TrialState

    class Later(BasePruner):  # type: ignore[misc]
        def prune(self, study: Any, trial: Any) -> bool:
            # Asked in any case: it notes the rungs that a trial has reached.
            wanted: bool = pruner.prune(study, trial)
            done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            return wanted and len(done) >= WHOLE

    return Later()


@dataclass(frozen=True)
class AtRung:
    """A network at a rung.

    Attributes:
        score: on the validation split.
        latency: measured or predicted.
    """

    score: float
    latency: float


def beaten(one: AtRung, others: Iterable[AtRung], images: int, *, maximize: bool = True) -> bool:
    """Whether a network has no place on the front, as far as can be seen at a rung.

    It has none if `RIVALS` others are at least as fast and clearly better: by `SIGMAS` standard
    errors of the difference of two shares of ``images`` images. Scores that are no shares (beyond 0
    to 1) are never clearly better.

    Args:
        one: to be judged.
        others: at the same rung.
        images: of the validation split.
        maximize: whether a higher score is better.
    """
    rivals = 0
    for other in others:
        gain = other.score - one.score if maximize else one.score - other.score
        if other.latency <= one.latency and gain > SIGMAS * _error(one.score, other.score, images):
            rivals += 1
    return rivals >= RIVALS


def _error(first: float, second: float, images: int) -> float:
    """Standard error of the difference of two shares; infinite if they are none."""
    if not (0 <= first <= 1 and 0 <= second <= 1):
        return math.inf
    # One image more on each side keeps the error of 0 and of 1 above zero.
    shares = [(share * images + 1) / (images + 2) for share in (first, second)]
    return math.sqrt(sum(share * (1 - share) / images for share in shares))
