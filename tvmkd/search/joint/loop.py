"""The loop: propose and train structures, tune the kernels of the front, correct, propose again.

Accuracies do not change when the table is corrected, only latencies: so everything trained so far
is ranked again at no cost, a network whose kernels tune badly on this board loses its place, and
the proposer learns the past anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvmkd.base.errors import InputError, TvmkdError, UsageError
from tvmkd.base.wire import Event
from tvmkd.search.joint.candidates import Candidate, Candidates
from tvmkd.search.joint.gains import Gains
from tvmkd.search.joint.importance import Importance, importances, most_important, potential, weigh
from tvmkd.search.joint.ledger import Ledger
from tvmkd.search.joint.proposals import Proposer
from tvmkd.search.joint.protocols import (
    Lower,
    Predictor,
    Progress,
    Structures,
    Train,
    Tunable,
)
from tvmkd.search.joint.screen import Screen
from tvmkd.search.joint.standing import Network, Standing
from tvmkd.search.latency.prediction import Kernel
from tvmkd.search.structure import Structure

FIRST_BATCH = 16  # trials of the first batch: nobody knows yet how long one takes
TRIALS_AHEAD = 32.0  # further trials that a kernel which matters may get
KERNEL_TRIALS = 8  # trials that each kernel of a batch gets on average at least


@dataclass(frozen=True)
class Options:
    """How a joint search proceeds.

    Attributes:
        rounds: at most.
        batch: most trials of one call of the table's `tune`; the front is taken again after it.
        last: the share of the board seconds that is kept for the last front.
        patience: the search ends once the front has stood still for so many rounds.
        choice: structures that are proposed and lowered for each one that is trained.
        budget: the greatest latency that is of interest, in seconds.
        tune_early: tune in the rounds; False: only measure each kernel's first schedule in them,
            as a search does that tunes last.
        rank_again: rank all networks again while the last front is tuned; False: the last front
            is that of the search.
        seed: of the proposals.
    """

    rounds: int = 6
    batch: int = 64
    last: float = 0.4
    patience: int = 2
    choice: int = 4
    budget: float | None = None
    tune_early: bool = True
    rank_again: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the numbers."""
        if self.rounds < 1 or self.batch < 1 or self.patience < 1 or self.choice < 1:
            raise UsageError("rounds, trials a batch, patience and choice must be at least 1")
        if not 0 <= self.last <= 1:
            raise UsageError(f"the last front's share must be from 0 to 1, not {self.last:g}")


def _silent(name: str, data: dict[str, object]) -> None:
    """Shows nothing."""


class JointSearch:
    """A search of structures that tunes kernels as it goes.

    Args:
        space: what is searched.
        proposer: who proposes structures of it.
        lower: the kernels of a structure.
        train: the score of a structure.
        table: predicts and tunes.
        ledger: what may be spent.
        options: see `Options`.
        guide: predicts latencies for the search in place of the table, which then counts from the
            last front on: MACs, for comparison.
        past: networks that were trained before; an interrupted search continues from them.
        done: rounds that were done before.
        emit: gets ``trained``, ``failed``, ``tuned``, ``round`` and ``note``.
    """

    def __init__(
        self,
        space: Structures,
        proposer: Proposer,
        lower: Lower,
        train: Train,
        table: Tunable,
        ledger: Ledger,
        options: Options,
        *,
        guide: Predictor | None = None,
        past: Sequence[Network] = (),
        done: int = 0,
        emit: Event = _silent,
    ) -> None:
        self.networks = list(past)
        self._train = train
        self._done = done
        self._table, self._ledger, self._options = table, ledger, options
        self._guide: Predictor = guide or table
        self._emit = emit
        self._candidates = Candidates(space, proposer, lower, self._refuse)
        self._candidates.tried.update(each.key for each in past)
        for each in past:
            ledger.charge_training(each.key)
        self._known: dict[str, Kernel] = {}
        self._exhausted: set[str] = set()
        self._seconds_a_trial: float | None = None
        self._refused = ""
        self._screen = Screen(options.budget)

    def run(self) -> Standing:
        """Searches until the front stands still or the budgets are spent.

        Returns:
            all networks with the table's last predictions; with ``rank_again`` False only those of
            the search's front.

        Raises:
            InputError: no structure of the space can be trained.
            MissingError: no board answers any more; what was trained and measured is kept.
        """
        import numpy as np

        options, ledger = self._options, self._ledger
        earlier: Standing | None = None
        still = 0
        for number in range(self._done, options.rounds):
            left = options.rounds - number
            self._rng = np.random.default_rng([options.seed, number])
            self._propose(-(-ledger.trainings_left // left))
            if self._guide is self._table:
                kept = options.last * ledger.board_seconds
                self._measure_missing()
                if options.tune_early:
                    self._tune("rounds", max(0.0, ledger.board_left - kept) / left)
            standing = Standing.now(self.networks, self._guide)
            still = still + 1 if earlier and standing.same_front(earlier) else 0
            earlier = standing
            self._emit("round", {"number": number, "standing": standing, "still": still})
            if still >= options.patience:
                break
        if earlier is not None and not options.rank_again:
            self.networks = [self.networks[i] for i in earlier.front]
        if ledger.board_left > 0:
            self._measure_missing()
            self._tune("last front", ledger.board_left)
        return Standing.now(self.networks, self._table)

    def _propose(self, count: int) -> None:
        """Trains the most promising of many proposed structures, one after another."""
        standing = Standing.now(self.networks, self._guide)
        pool = self._candidates.pool(standing, count * self._options.choice, self._rng)
        self._known.update((each.key, each) for one in pool for each in one.kernels)
        gains = self._gains()

        def hope(one: Network | Candidate) -> float:
            return potential(self._guide.predict(one.kernels), gains, TRIALS_AHEAD)

        hopes, known = [hope(each) for each in pool], [hope(each) for each in self.networks]
        for _ in range(count):
            if not pool:
                self._emit("note", {"text": "the space has no more networks"})
                break
            index = self._screen.choose(pool, hopes, self.networks, known)
            candidate, seconds = pool.pop(index), hopes.pop(index)
            if self._add(candidate):
                known.append(seconds)
        if not self.networks:
            raise InputError(f"no network of the space could be trained: {self._refused}")

    def _add(self, candidate: Candidate) -> bool:
        """Trains a structure. False: that failed."""
        self._candidates.tried.add(candidate.key)
        self._ledger.charge_training(candidate.key)
        try:
            score = self._train(candidate.structure)
        except TvmkdError as error:
            self._refuse(candidate.structure, error)
            return False
        network = Network(candidate.structure, candidate.key, candidate.kernels, score)
        self.networks.append(network)
        self._emit("trained", {"network": network})
        return True

    def _refuse(self, structure: Structure, error: TvmkdError) -> None:
        self._refused = str(error)
        self._emit("failed", {"structure": structure, "error": str(error)})

    def _progress(self) -> dict[str, Progress]:
        for network in self.networks:
            self._known.update((each.key, each) for each in network.kernels)
        found = {key: self._table.progress(key) for key in self._known}
        return {key: each for key, each in found.items() if each is not None}

    def _gains(self) -> Gains:
        return Gains(self._progress(), {key: each.kind for key, each in self._known.items()})

    def _importances(self) -> dict[str, Importance]:
        standing = Standing.now(self.networks, self._table)
        scores = [each.score for each in standing.networks]
        gains, ahead = self._gains(), TRIALS_AHEAD
        weights = weigh(standing.predictions, scores, gains, ahead, self._options.budget)
        if not any(weights):  # nothing meets the budget: the front is what comes nearest
            weights = weigh(standing.predictions, scores, gains, ahead)
        return importances(standing.predictions, weights, gains, ahead)

    def _measure_missing(self) -> None:
        """Measures one schedule of each kernel of the front, and near it, that has none."""
        found = self._importances()
        missing = {
            key: each.weight
            for key, each in found.items()
            if self._table.progress(key) is None and key not in self._exhausted
        }
        if missing and self._ledger.board_left > 0:
            self._spend("first schedules", missing, len(missing))

    def _tune(self, what: str, seconds: float) -> None:
        """Spends board seconds on the kernels that matter most."""
        until = self._ledger.board_spent + seconds
        while (left := until - self._ledger.board_spent) > 0:
            pace = self._seconds_a_trial
            trials = FIRST_BATCH if pace is None else int(left / pace)
            trials = min(trials, self._options.batch)
            found = {
                key: each
                for key, each in self._importances().items()
                if key not in self._exhausted and each.worth > 0
            }
            # To begin with fewer trials takes longer than the trials do; a later round has more.
            if not found or trials < KERNEL_TRIALS:
                return
            self._spend(what, most_important(found, trials // KERNEL_TRIALS), trials)

    def _spend(self, what: str, weights: dict[str, float], trials: int) -> None:
        spent = self._table.tune(weights, trials)
        self._ledger.charge_board(what, spent.board_seconds)
        if spent.trials:
            self._seconds_a_trial = spent.board_seconds / spent.trials
        # Kernels without further schedules, and those that cannot be measured, get no more.
        ended = spent.trials < trials
        self._exhausted.update(key for key in weights if ended or self._table.progress(key) is None)
        self._emit("tuned", {"what": what, "kernels": len(weights), "spent": spent})
