"""Who proposes structures: Optuna, told all past trials with corrected latencies; or evolution."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from tvmkd.search.front import nondominated
from tvmkd.search.joint.protocols import Mutable, Scored, Structures
from tvmkd.search.structure import Structure

if TYPE_CHECKING:
    import optuna

Past = Sequence[tuple[Structure, Scored]]
"""Every structure with a score so far, with its latency as it is known now."""


class Proposer(Protocol):
    """Proposes structures."""

    def restart(self, past: Past, seed: int) -> None:
        """Forgets everything, and learns the past anew: its latencies may have changed."""

    def ask(self) -> Structure:
        """A structure, which may have been proposed before."""


class StudyProposer:
    """An in-memory Optuna study of two objectives, searched by TPE.

    NSGA-II would be of no use here: it breeds only from trials that it proposed itself, and after
    a correction all trials are told anew.

    Args:
        space: what is searched.
        startup: structures that are drawn at random first.
    """

    def __init__(self, space: Structures, startup: int = 10) -> None:
        self._space = space
        self._startup = startup
        self._study: optuna.Study | None = None

    def restart(self, past: Past, seed: int) -> None:
        """Makes a new study, and adds the past to it."""
        import optuna

        with warnings.catch_warnings():
            # Spaces in which a parameter depends on another need it.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, group=True, n_startup_trials=self._startup
            )
        said = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every new study
        study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
        optuna.logging.set_verbosity(said)
        for structure, (latency, score) in past:
            study.add_trial(
                optuna.create_trial(
                    params=self._space.params(structure),
                    distributions=self._space.distributions(structure),
                    values=[math.log(latency), score],
                )
            )
        self._study = study

    def ask(self) -> Structure:
        """A new trial's structure."""
        assert self._study is not None
        return self._space.suggest(self._study.ask())


class EvolutionProposer:
    """Parents from the front, crossed and mutated: for scores that cost little (a supernet).

    Args:
        space: what is searched.
        startup: structures that are drawn at random first.
        crossed: the share of children that have two parents.
    """

    def __init__(self, space: Mutable, startup: int = 16, crossed: float = 0.5) -> None:
        self._space = space
        self._startup = startup
        self._crossed = crossed
        self._past: list[tuple[Structure, Scored]] = []

    def restart(self, past: Past, seed: int) -> None:
        """Takes the past as it is now."""
        import numpy as np

        self._past = list(past)
        self._rng = np.random.default_rng(seed)

    def ask(self) -> Structure:
        """A child of the front's structures."""
        rng = self._rng
        if len(self._past) < self._startup:
            return self._space.draw(rng)
        points = [point for _, point in self._past]
        best = nondominated([score for _, score in points], [latency for latency, _ in points])
        parents = [self._past[int(index)][0] for index in best]
        child = parents[int(rng.integers(len(parents)))]
        if len(parents) > 1 and rng.random() < self._crossed:
            child = self._space.crossover(child, parents[int(rng.integers(len(parents)))], rng)
        return self._space.mutate(child, rng)
