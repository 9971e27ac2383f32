"""Which network is tried next, so that no two trials try the same one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmkd.search.study import points
from tvmkd.search.study.goal import Goal
from tvmkd.search.study.owners import this_process

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from tvmkd.search.space import Space
    from tvmkd.search.structure import Structure

REPEATS = 5
"""So many proposals in a row that were tried before, and a random one that was not is taken."""
DRAWS = 500
"""So many random structures that were all tried before: there are no others."""


def sampler(goal: Goal, seed: int, trials: int, *, conditional: bool = False) -> BaseSampler:
    """The sampler of one trial.

    TPE (Bergstra et al., 2011; as Optuna has it: multivariate, with constraints) for one objective,
    NSGA-II (Deb et al., 2002) for a front.

    Args:
        goal: of the study.
        seed: of this trial.
        trials: that the study will have: a short one must not spend them all on a random start.
        conditional: whether some parameters exist with some values of others only.
    """
    from optuna.samplers import NSGAIISampler, TPESampler

    if goal.several:
        return NSGAIISampler(population_size=min(50, max(4, trials // 5)), seed=seed)
    start = min(10, max(4, trials // 4))
    return TPESampler(n_startup_trials=start, multivariate=True, group=conditional, seed=seed)


class Proposals:
    """Asks a study for trials.

    Args:
        study: Optuna's.
        space: the structures.
        goal: of the study.
        seed: of the search: equal seeds and results propose equal networks.
        trials: that the study will have.
        forgiven: numbers of failed trials whose networks may be tried again.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        goal: Goal,
        seed: int,
        trials: int,
        forgiven: Collection[int] = (),
    ) -> None:
        self._study, self._space, self._goal = study, space, goal
        self._seed, self._trials, self._forgiven = seed, trials, forgiven

    def next(self) -> tuple[optuna.Trial, Structure] | None:
        """A trial of this process and its structure, which no other trial has.

        Trials that wait to be continued come first. None: all structures were tried.
        """
        for _ in range(REPEATS):
            found = self._ask()
            if found is not None:
                return found
        while self._enqueue_unseen():
            found = self._ask()
            if found is not None:
                return found
        return None

    def _ask(self) -> tuple[optuna.Trial, Structure] | None:
        """One proposal; None if it cannot be, or another trial has it."""
        trial = self._study.ask()
        trial.set_user_attr(points.OWNER, this_process().to_dict())
        # Optuna samples when the first value is suggested. Seeded by the trial, so that a search
        # that was interrupted proposes what it would have proposed, and workers differ.
        self._study.sampler = sampler(
            self._goal,
            int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0]),
            self._trials,
            conditional=any(each.needs for each in self._space.parameters),
        )
        structure = self._space.suggest(trial)
        trial.set_user_attr(points.STRUCTURE, structure)
        problem = self._space.problem(structure)
        if problem is not None:
            self._drop(trial, problem)
            return None
        key = self._space.key(structure)
        # Written before it is looked for: of two processes that propose it at once, both see the
        # other, or one does. If both do, both leave it, and it will be proposed again.
        trial.set_user_attr(points.KEY, key)
        others = self._study.get_trials(deepcopy=False)
        same = [each for each in others if self._has(each, key) and each.number != trial.number]
        if not same:
            return trial, structure
        self._drop(trial, f"the same network as trial {same[0].number}")
        return None

    def _drop(self, trial: optuna.Trial, why: str) -> None:
        """Ends a trial that is none. Stopped without a value: the sampler looks elsewhere."""
        from optuna.trial import TrialState

        trial.set_user_attr(points.VOID, why)
        self._study.tell(trial, state=TrialState.PRUNED)

    def _enqueue_unseen(self) -> bool:
        """Has Optuna propose a random structure that no trial has; False: there is none."""
        trials = self._study.get_trials(deepcopy=False)
        seen = {each.user_attrs[points.KEY] for each in trials if self._has(each)}
        size = self._space.size
        if size is not None and len(seen) >= size:
            return False
        rng = np.random.default_rng([self._seed, len(trials)])
        for _ in range(DRAWS):
            structure = self._space.draw(rng)
            if self._space.key(structure) not in seen:
                self._study.enqueue_trial(self._space.params(structure))
                return True
        return False

    def _has(self, trial: FrozenTrial, key: str | None = None) -> bool:
        """Whether a trial tries a structure: any, or that one."""
        attributes = trial.user_attrs
        if points.VOID in attributes or points.KEY not in attributes:
            return False
        if trial.number in self._forgiven:
            return False
        return key is None or attributes[points.KEY] == key


def hand_back(study: optuna.Study, trial: FrozenTrial, why: str, *, died: bool = False) -> bool:
    """Ends a trial that is not over, so that a new one continues it; False: another process did.

    Optuna has no other way to give a running trial to somebody else: only the first one that ends
    it succeeds, and that one makes the new trial.

    Args:
        study: Optuna's.
        trial: waiting or running.
        why: for people who look at the study.
        died: whether its process ended while it worked on it.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    storage = study._storage
    attributes: dict[str, Any] = {}
    deaths = trial.user_attrs.get(points.DEATHS, 0) + died
    if deaths:
        attributes[points.DEATHS] = deaths
    try:
        storage.set_trial_user_attr(trial._trial_id, points.VOID, why)
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False
    if points.KEY in trial.user_attrs:
        study.enqueue_trial(trial.params, user_attrs=attributes)
    return True


def open_slots(trials: Sequence[FrozenTrial], wanted: int) -> tuple[int, int]:
    """How many networks a study still has to train, and how many more may be begun for that.

    A network that runs may turn out too slow, or fail: then another one takes its place.
    """
    from optuna.trial import TrialState

    done = sum(map(points.counted, trials))
    running = sum(points.active(each) and each.state == TrialState.RUNNING for each in trials)
    return max(0, wanted - done), max(0, wanted - done - running)
