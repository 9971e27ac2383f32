"""Whether any network of a space meets the budget, before hours of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tvmkd.base.errors import GateFailure, InputError
from tvmkd.search.structure import text
from tvmkd.search.supernet.evolution import evolve

if TYPE_CHECKING:
    from tvmkd.search.structure import Structure
    from tvmkd.search.supernet.blueprints import Blueprints
    from tvmkd.search.supernet.corners import Corners
    from tvmkd.search.supernet.ranking import Judged, Ranking

POPULATION, GENERATIONS = 12, 10
"""Of an evolution towards faster networks."""


class _Enough(Exception):
    """A network meets the budget."""


def check_budget(
    blueprints: Blueprints,
    ends: Corners,
    predict: Callable[[Structure], Judged],
    ranking: Ranking,
    *,
    unit: str,
    seed: int,
) -> None:
    """Makes sure that a network of the space is predicted to meet the budget.

    The smallest network first, then an evolution towards faster ones, until one meets it.

    Args:
        blueprints, ends: of the space.
        predict: predicts the latency of a network.
        ranking: has the budget.
        unit: of latencies.
        seed: of the evolution.

    Raises:
        GateFailure: none is found; has the fastest.
        InputError: none can be built and compiled.
    """

    def look(structure: Structure) -> Judged:
        found = predict(structure)
        if found.predicted is not None and ranking.excess(found) == 0:
            raise _Enough
        return found

    try:
        found = evolve(
            blueprints,
            look,
            ranking,
            population=POPULATION,
            generations=GENERATIONS,
            seed=seed,
            start=(ends.smallest,),
        )
    except _Enough:
        return
    fastest = ranking(found)[0]
    if fastest.predicted is None:
        raise InputError(f"no network of the space can be built: {fastest.error}")
    raise GateFailure(
        f"no network of the space meets the budget of {ranking.goal.budget:g} {unit}: the fastest "
        f"of {len(found)} is predicted to take {fastest.predicted:.3g} {unit} "
        f"({fastest.low:.3g} to {fastest.high:.3g}), with {text(fastest.structure)}; give a larger "
        "budget or smaller networks"
    )
