"""Structures that are proposed, lowered to kernels, and wait to be chosen for a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tvmkd.base.errors import TvmkdError
from tvmkd.search.joint.proposals import Proposer
from tvmkd.search.joint.protocols import Lower, Structures
from tvmkd.search.joint.standing import Standing
from tvmkd.search.latency.prediction import Kernel
from tvmkd.search.structure import Structure

TRIES = 30
"""How often in a row a proposer may propose what is known, before structures are drawn at random;
then as often again, before the space counts as exhausted."""


@dataclass(frozen=True)
class Candidate:
    """A structure that was not trained yet.

    Attributes:
        structure: the values of the space's parameters.
        key: the structure's.
        kernels: what it becomes on the target.
    """

    structure: Structure
    key: str
    kernels: Sequence[Kernel]


class Candidates:
    """Collects candidates.

    Args:
        space: what is searched.
        proposer: who proposes structures of it.
        lower: the kernels of a structure.
        failed: called with a structure that cannot be lowered, and why.

    Attributes:
        tried: keys of the structures that were trained, or cannot be.
    """

    def __init__(
        self,
        space: Structures,
        proposer: Proposer,
        lower: Lower,
        failed: Callable[[Structure, TvmkdError], None],
    ) -> None:
        self.tried: set[str] = set()
        self._space, self._proposer, self._lower = space, proposer, lower
        self._failed = failed

    def pool(self, standing: Standing, size: int, rng: np.random.Generator) -> list[Candidate]:
        """New candidates, at most ``size``; fewer if the space has no more.

        Args:
            standing: what was trained, with the latencies of now; the proposer learns it anew.
            size: at least 1.
            rng: the only source of chance.
        """
        pairs = zip(standing.networks, standing.points, strict=True)
        past = [(network.structure, point) for network, point in pairs]
        self._proposer.restart(past, int(rng.integers(2**31)))
        found: list[Candidate] = []
        seen = set(self.tried)
        fruitless = 0
        while len(found) < size and fruitless < 2 * TRIES:
            asked = fruitless < TRIES
            structure = self._proposer.ask() if asked else self._space.draw(rng)
            key = self._space.key(structure)
            fruitless += 1
            if key in seen:
                continue
            seen.add(key)
            try:
                found.append(Candidate(structure, key, self._lower(structure)))
                fruitless = 0
            except TvmkdError as error:
                self.tried.add(key)
                self._failed(structure, error)
        return found
