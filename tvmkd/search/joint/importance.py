"""Which kernels matter to a front, and how much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tvmkd.search.front import nondominated
from tvmkd.search.joint.gains import Gains
from tvmkd.search.latency.prediction import Prediction

NEAR = 0.5
"""The weight of a network that is not on the front, and would be if its kernels gained what is
expected of them. Networks on the front have 1."""


@dataclass(frozen=True)
class Importance:
    """What a kernel means to the front.

    Attributes:
        weight: what a second saved in one call of it is worth, in shares of networks' times.
        worth: what further trials are expected to save by it, in the same shares.
    """

    weight: float
    worth: float


def potential(prediction: Prediction, gains: Gains, trials: float) -> float:
    """A network's time in seconds if each kernel got so many further trials."""
    saved = sum(
        each.seconds * each.kernel.calls * gains.share(each, trials) for each in prediction.kernels
    )
    return prediction.seconds - saved


def rival(seconds: Sequence[float], scores: Sequence[float], index: int) -> float:
    """The seconds of the fastest other network that scores at least as high; infinity: none."""
    return min(
        (
            other
            for i, (other, score) in enumerate(zip(seconds, scores, strict=True))
            if i != index and score >= scores[index]
        ),
        default=math.inf,
    )


def weigh(
    predictions: Sequence[Prediction],
    scores: Sequence[float],
    gains: Gains,
    trials: float,
    budget: float | None = None,
) -> list[float]:
    """The weight of each network: 1 on the front, `NEAR` near it, 0 elsewhere.

    Args:
        predictions: of each network.
        scores: of each network, higher is better.
        gains: what tuning may still gain.
        trials: further trials that a kernel may get.
        budget: networks that cannot meet this many seconds, even tuned, weigh nothing, and
            outdo none.
    """
    hopes = [potential(each, gains, trials) for each in predictions]
    able = [i for i, hope in enumerate(hopes) if budget is None or hope <= budget]
    seconds = [predictions[i].seconds for i in able]
    rated = [scores[i] for i in able]
    weights = [0.0] * len(predictions)
    for place, index in enumerate(able):
        weights[index] = NEAR if hopes[index] < rival(seconds, rated, place) else 0.0
    for place in nondominated(rated, seconds):
        weights[able[int(place)]] = 1.0
    return weights


def importances(
    predictions: Sequence[Prediction], weights: Sequence[float], gains: Gains, trials: float
) -> dict[str, Importance]:
    """What each kernel of the networks that weigh something means to them, by its key."""
    found: dict[str, Importance] = {}
    for prediction, network in zip(predictions, weights, strict=True):
        for each in prediction.kernels if network > 0 else ():
            weight = network * each.kernel.calls / prediction.seconds
            worth = weight * each.seconds * gains.share(each, trials)
            before = found.get(each.kernel.key, Importance(0.0, 0.0))
            found[each.kernel.key] = Importance(before.weight + weight, before.worth + worth)
    return found


def most_important(kernels: dict[str, Importance], count: int) -> dict[str, float]:
    """The weights of the kernels by which further trials are expected to save the most."""
    order = sorted(kernels, key=lambda key: (-kernels[key].worth, key))
    return {key: kernels[key].weight for key in order[: max(1, count)]}
