"""Which parameters of a space mattered, by Optuna's functional analysis of variance."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tvmkd.search import front
from tvmkd.search.results import Point

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEAST = 12
"""Fewer networks say too little."""


def importances(
    points: Sequence[Point], value: Callable[[Point], float] = front.accuracy_of
) -> dict[str, float]:
    """The share of the variance of a value that each parameter explains, with those of all others.

    Hutter et al., "An Efficient Approach for Assessing Hyperparameter Importance" (2014).
    Parameters that not every network has, and those with one value only, are left out.

    Args:
        points: complete ones.
        value: what varies: `front.accuracy_of` or `front.latency_of`.

    Returns:
        parameter to share (0 to 1), greatest first; empty without Optuna, with fewer than `LEAST`
        networks, or where the value does not vary.
    """
    known = front.usable(points)
    if len(known) < LEAST or importlib.util.find_spec("optuna") is None:
        return {}
    values = [value(point) for point in known]
    rows, distributions = _parameters(known)
    if not distributions or min(values) == max(values):
        return {}
    import optuna

    shown = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it logs each study to stderr
    try:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    finally:
        optuna.logging.set_verbosity(shown)
    study.add_trials(
        [
            optuna.trial.create_trial(params=row, distributions=distributions, value=each)
            for row, each in zip(rows, values, strict=True)
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found: dict[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return found


def _parameters(
    points: Sequence[Point],
) -> tuple[list[dict[str, Any]], dict[str, BaseDistribution]]:
    """The parameters that all points have, as Optuna wants them."""
    from optuna import distributions

    names = [
        name
        for name in points[0].structure
        if all(name in point.structure for point in points)
        and len({json.dumps(point.structure[name], default=str) for point in points}) > 1
    ]
    rows: list[dict[str, Any]] = [{} for _ in points]
    made: dict[str, BaseDistribution] = {}
    for name in names:
        values = [point.structure[name] for point in points]
        if all(isinstance(each, int | float) and not isinstance(each, bool) for each in values):
            numbers = [float(each) for each in values]
            made[name] = distributions.FloatDistribution(min(numbers), max(numbers))
            shown: list[Any] = numbers
        else:
            shown = [json.dumps(each, default=str) for each in values]
            made[name] = distributions.CategoricalDistribution(sorted(set(shown)))
        for row, each in zip(rows, shown, strict=True):
            row[name] = each
    return rows, made
