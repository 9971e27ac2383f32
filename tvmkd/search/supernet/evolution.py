"""Evolution over the networks of a space that cost next to nothing to evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmkd.search.parameter_space import GRID
from tvmkd.search.supernet.ranking import Judged

if TYPE_CHECKING:
    from tvmkd.search.structure import Structure
    from tvmkd.search.supernet.blueprints import Blueprints

PARENTS = 0.25
"""The share of a generation that has children."""
CROSSED = 0.5
"""The share of children that have two parents; the others are mutated."""
TRIES = 50
"""Children in a row that are known already before a generation ends."""


def evolve(
    blueprints: Blueprints,
    judge: Callable[[Structure], Judged],
    rank: Callable[[Sequence[Judged]], list[Judged]],
    *,
    population: int,
    generations: int,
    seed: int,
    start: Iterable[Mapping[str, Any]] = (),
    report: Callable[[list[Judged]], None] = lambda found: None,
) -> list[Judged]:
    """Looks for the best networks by mutation and crossover.

    Generations as in Once-for-All (Cai et al., 2020): the best quarter of all networks so far have
    as many children as the population has members. Scores without noise need no ageing (Real et
    al., 2019). A space with no more networks than would be tried is tried as a whole.

    Args:
        blueprints: of the space.
        judge: evaluates a network; called once for each key.
        rank: sorts networks, the best first.
        population: networks of a generation.
        generations: after the first, which is drawn.
        seed: of all draws.
        start: structures that are in the first generation.
        report: called with all networks so far after each generation.

    Returns:
        All networks that were evaluated, in that order.
    """
    space, rng = blueprints.space, np.random.default_rng(seed)
    found: dict[str, Judged] = {}

    def add(structures: Iterable[Mapping[str, Any]], most: int, tries: int = TRIES) -> int:
        """Evaluates the new ones of some structures until there are enough; returns how many."""
        count = stale = 0
        for structure in structures:
            key = blueprints.key(structure)
            stale += 1
            if key not in found:
                found[key] = judge(dict(structure))
                count, stale = count + 1, 0
            if count >= most or stale >= tries:
                break
        return count

    if space.size is not None and space.size <= min(GRID, population * (1 + generations)):
        everything = space.grid()
        for first in range(0, len(everything), population):
            add(everything[first : first + population], population, population + 1)
            report([*found.values()])
        return [*found.values()]

    add(start, population)
    add(iter(lambda: space.draw(rng), None), population - len(found))
    report([*found.values()])
    for _ in range(generations):
        best = rank([*found.values()])[:population]
        parents = best[: max(2, round(len(best) * PARENTS))]

        def child(parents: list[Judged] = parents) -> Structure:
            one, other = (parents[int(rng.integers(len(parents)))] for _ in range(2))
            if rng.random() < CROSSED and one.key != other.key:
                return space.crossover(one.structure, other.structure, rng)
            return space.mutate(one.structure, rng)

        if not add(iter(child, None), population):
            break
        report([*found.values()])
    return [*found.values()]
