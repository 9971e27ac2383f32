"""The fastest network of a space, to tell before any training that none meets the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tvmkd.base.errors import GateFailure, InputError, TvmkdError
from tvmkd.search.latency.prediction import Prediction
from tvmkd.search.study import predicting
from tvmkd.search.study.bench import Bench
from tvmkd.search.study.goal import in_unit
from tvmkd.search.study.trial import describe

if TYPE_CHECKING:
    from tvmkd.search.structure import Structure

DRAWS = 12
"""Random networks to start from."""
PREDICTIONS = 150
"""Networks that are predicted at most."""


def check_budget(bench: Bench) -> None:
    """Makes sure that a network of the space may meet the budget.

    Random networks first, then the neighbours of the fastest, and of the fastest of those: the
    first network that may meet it is enough.

    Raises:
        GateFailure: none does; has the fastest that was found.
        InputError: no network can be built or compiled.
    """
    budget = bench.goal.budget
    if budget is None or any(point.state == "complete" for point in bench.points()):
        return
    found = _descend(bench, budget)
    if found is None:
        return
    structure, prediction, count = found
    values = ", ".join(f"{name} = {value}" for name, value in structure.items())
    raise GateFailure(
        f"no network of the space meets the budget of {budget:g} {bench.unit}: the fastest of "
        f"{count} is predicted to take {in_unit(prediction.seconds):.3g} {bench.unit} "
        f"({in_unit(prediction.low):.3g} to {in_unit(prediction.high):.3g}), with {values}; give a "
        "larger budget or smaller networks"
    )


def _descend(bench: Bench, budget: float) -> tuple[Structure, Prediction, int] | None:
    """The fastest network found, and how many were predicted; None: one may meet the budget."""
    rng = np.random.default_rng(bench.plan.search.seed)
    seen: set[str] = set()
    best: tuple[Structure, Prediction] | None = None
    error: TvmkdError | None = None
    todo = [bench.space.draw(rng) for _ in range(DRAWS)]
    while todo and len(seen) < PREDICTIONS:
        before = best
        for structure in todo:
            key = bench.space.key(structure)
            if key in seen or len(seen) >= PREDICTIONS:
                continue
            seen.add(key)
            bench.doing(f"looking for networks within the budget: {len(seen)}")
            try:
                found = predicting.times(bench, structure)[0]
            except TvmkdError as problem:
                error = problem
                continue
            if in_unit(found.low) <= budget:
                return None
            if best is None or found.seconds < best[1].seconds:
                best = structure, found
        todo = [] if best is None or best is before else bench.space.neighbours(best[0])
    if best is None:
        line = "none could be drawn" if error is None else describe(error)
        raise InputError(f"no network of the space can be built: {line}")
    return best[0], best[1], len(seen)
