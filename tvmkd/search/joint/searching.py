"""``[search] method = "joint"``: a study whose networks are chosen, and kernels tuned, together."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import InputError, UsageError
from tvmkd.base.locks import Lock
from tvmkd.base.wire import Event
from tvmkd.config.overlay import SHORT
from tvmkd.search.joint import lowering
from tvmkd.search.joint.ledger import Ledger
from tvmkd.search.joint.loop import JointSearch, Options
from tvmkd.search.joint.proposals import StudyProposer
from tvmkd.search.joint.protocols import Tunable
from tvmkd.search.joint.standing import Network
from tvmkd.search.joint.tuned_table import TunedTable
from tvmkd.search.latency.prediction import Kernel, Prediction
from tvmkd.search.latency.table import LatencyTable
from tvmkd.search.results import Point, Study
from tvmkd.search.study import points, snapshot
from tvmkd.search.study.bench import Bench, Plan
from tvmkd.search.study.fastest import check_budget
from tvmkd.search.study.goal import Goal, in_unit
from tvmkd.search.study.opening import open_bench, settle_channels
from tvmkd.search.study.owners import Listener, this_process
from tvmkd.search.study.storage import answering
from tvmkd.search.study.studying import fill_table
from tvmkd.search.study.worker import adopt, one

if TYPE_CHECKING:
    import optuna

    from tvmkd.search.structure import Structure

STATE = "joint"
"""Attribute of the study: rounds that are done, board seconds spent."""


def search(plan: Plan, event: Event) -> Study:
    """Trains ``[search] trials`` networks and tunes the kernels that matter to the best of them.

    Networks are trials of the study in the search's folder, as with ``method = "study"``, so that
    the same call after an interruption goes on. Nothing is measured whole before the end.

    Args:
        plan: of the search.
        event: see `tvmkd.search.study.studying.study`.

    Raises:
        GateFailure: no network of the space meets the budget.
        InputError: the study was made for something else, something that it names cannot be used,
            or all trainings fail.
        UsageError: nothing can be tuned: there are no boards; or the networks have exits.
        MissingError: Optuna or a stack is missing, or no board answers any more: what was trained
            and measured is kept.
    """

    def follow(name: str, data: dict[str, Any]) -> None:
        if name == "trial":
            event("study", {"study": snapshot.write(bench)})
        else:
            event(name, data)

    if plan.search.workers > 1:
        event("note", {"text": 'warning: method = "joint" works in one process, not several'})
    with contextlib.ExitStack() as opened:
        opened.enter_context(answering(plan.search.storage))
        bench = open_bench(plan, follow)
        try:
            opened.enter_context(
                Lock(plan.folder / ".joint.lock", "searching here", "give another [project] out")
            )
            _refuse_exits(bench)
            table = _tunable(bench)
            fill_table(bench)
            settle_channels(bench)
            check_budget(bench)
            event("study", {"study": snapshot.snapshot(bench)})
            _Search(bench, table).do()
            return snapshot.finish(bench)
        finally:
            bench.close()


def _refuse_exits(bench: Bench) -> None:
    """Networks with exits have the time of several: nothing says which kernels matter to it.

    Raises:
        UsageError: the file has exits, or the space.
    """
    paths = {each.path for each in bench.space.parameters}
    if SHORT["exits"] in paths or bench.plan.cfg.early_exit is not None:
        raise UsageError(
            '[search] method = "joint" is not for networks with early exits: take exits and '
            '[early_exit] out, or give method = "study"'
        )


def _tunable(bench: Bench) -> Tunable:
    """What tunes the kernels.

    Raises:
        UsageError: nothing does.
    """

    def tuning(name: str, data: dict[str, Any]) -> None:
        if name == "trial":
            done, total = data["trials_done"], data["trials_total"]
            bench.doing("tuning the kernels of the front", done=done, total=total)

    latency = bench.latency
    if isinstance(latency, LatencyTable) and latency.boards is not None:
        return TunedTable(latency, bench.plan.search.seed, tuning)
    if isinstance(latency, Tunable):
        return latency
    raise UsageError(
        '[search] method = "joint" tunes kernels, and there is no board to tune them on: give '
        '[tune] tracker and key, or take method = "study"'
    )


class _Patient(Goal):
    """Gives up no network before it is trained: its kernels may tune better than expected."""

    def hopeless(self, prediction: Prediction, costs: object = ()) -> None:
        del prediction, costs


@dataclass
class _Search:
    """The steps of one search."""

    bench: Bench
    table: Tunable
    _kernels: dict[str, list[Kernel]] = field(default_factory=dict)

    def do(self) -> None:
        bench, search = self.bench, self.bench.plan.search
        whole, goal = bench.plan, bench.goal
        settings, limit = search.joint, goal.budget if search.objective != "weighted" else None
        # Times of whole networks would be out of date after the next tuning.
        quick = search.model_copy(update={"measure": False, "stop": "never"})
        bench.plan = replace(whole, cfg=whole.cfg.model_copy(update={"search": quick}))
        bench.goal = _Patient(goal.objective, goal.budget, goal.alpha, goal.beta, goal.maximize)
        bench.correct = self._corrected
        self._finish_begun()
        state = bench.study.user_attrs.get(STATE, {})
        ledger = Ledger(settings.board_seconds, search.trials, dict(state.get("spent", {})))
        past, done = self._past(), state.get("rounds", 0)
        if len(past) < search.trials:  # a search that has ended may get more of them
            done = min(done, settings.rounds - 1)
        loop = JointSearch(
            bench.space,
            StudyProposer(bench.space),
            self._lower,
            self._train,
            self.table,
            ledger,
            Options(
                rounds=settings.rounds,
                batch=settings.batch,
                last=settings.last,
                patience=settings.patience,
                choice=settings.choice,
                budget=None if limit is None else limit / in_unit(1.0),
                seed=search.seed,
            ),
            past=past,
            done=done,
            emit=lambda name, data: self._follow(name, data, ledger),
        )
        loop.run()
        bench.plan, bench.goal = whole, goal

    def _lower(self, structure: Structure) -> list[Kernel]:
        problem = self.bench.space.problem(structure)
        if problem is not None:
            raise InputError(problem)
        key = self.bench.space.key(structure)
        if key not in self._kernels:
            self.bench.doing(f"lowering networks: {len(self._kernels) + 1}")
            self._kernels[key] = lowering.kernels(self.bench, structure)
        return self._kernels[key]

    def _train(self, structure: Structure) -> float:
        """Does a structure's trial; returns its score, higher is better.

        Raises:
            InputError: the trial failed.
        """
        bench = self.bench
        bench.study.enqueue_trial(bench.space.params(structure))
        number = self._next()
        trial = bench.study.get_trials(deepcopy=False)[number]
        if trial.user_attrs.get(points.KEY) != bench.space.key(structure):
            raise InputError("another process works on this study; let one of them go on alone")
        score = trial.user_attrs.get("accuracy")
        if points.ERROR in trial.user_attrs or score is None:
            raise InputError(trial.user_attrs.get(points.ERROR, "the trial has no score"))
        return float(score if bench.goal.maximize else -score)

    def _next(self) -> int:
        """Does the trial that waits in the study; returns its number."""
        bench, trial = self.bench, self._asked()
        structure = bench.space.suggest(trial)
        trial.set_user_attr(points.STRUCTURE, structure)
        trial.set_user_attr(points.KEY, bench.space.key(structure))
        one(bench, trial, structure)
        bench.event("trial", {"worker": bench.worker})
        return int(trial.number)

    def _asked(self) -> optuna.Trial:
        trial = self.bench.study.ask()
        trial.set_user_attr(points.OWNER, this_process().to_dict())
        return trial

    def _finish_begun(self) -> None:
        """Goes on with trainings that were interrupted."""
        from optuna.trial import TrialState

        study = self.bench.study
        adopt(self.bench, study.get_trials(deepcopy=False), Listener())
        while study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._next()

    def _past(self) -> list[Network]:
        """The networks that were trained before."""
        found = []
        for point in self.bench.points():
            if point.state == "complete" and point.accuracy is not None:
                score = point.accuracy if self.bench.goal.maximize else -point.accuracy
                structure = self.bench.space.normalise(point.structure)
                key = self.bench.space.key(structure)
                found.append(Network(structure, key, self._lower(structure), score))
        return found

    def _corrected(self, known: list[Point]) -> list[Point]:
        """The points with their latencies as the table predicts them now."""
        return [self._with_latency(point) for point in known]

    def _with_latency(self, point: Point) -> Point:
        if point.state != "complete":
            return point
        kernels = self._kernels.get(self.bench.space.key(point.structure))
        if kernels is None:
            return point
        now = self.table.predict(kernels)
        return point.model_copy(
            update={
                "predicted": in_unit(now.seconds),
                "low": in_unit(now.low),
                "high": in_unit(now.high),
                "interpolated": now.interpolated,
            }
        )

    def _follow(self, name: str, data: dict[str, Any], ledger: Ledger) -> None:
        bench = self.bench
        if name == "note":
            bench.note(data["text"])
        elif name in ("tuned", "round"):
            if name == "tuned":
                self._forget_measured()
            rounds = data["number"] + 1 if name == "round" else self._rounds
            bench.study.set_user_attr(STATE, {"rounds": rounds, "spent": ledger.spent})
            bench.study.set_user_attr(points.TUNING, ledger.board_spent)
            bench.event("trial", {"worker": bench.worker})

    def _forget_measured(self) -> None:
        """Times of whole networks, of an earlier end of this search, are out of date."""
        study = self.bench.study
        for number, values in points.measured_later(study.user_attrs).items():
            kept = {name: value for name, value in values.items() if name != points.MEASURED}
            if kept != values:
                study.set_user_attr(f"{points.MEASURED}:{number}", kept)

    @property
    def _rounds(self) -> int:
        return int(self.bench.study.user_attrs.get(STATE, {}).get("rounds", 0))
