"""One trial: a network is built, predicted, trained if it may win, and measured near the front."""

from __future__ import annotations

import math
import platform
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import InputError, MissingError, TvmkdError, WorkerDied, expected
from tvmkd.base.files import write_text
from tvmkd.base.text import first_line
from tvmkd.base.user_code import blamed
from tvmkd.distill.training import Rungs
from tvmkd.search.front import accuracy_of, latency_of, usable
from tvmkd.search.latency.prediction import Prediction
from tvmkd.search.study import measuring, points, predicting
from tvmkd.search.study.bench import Bench
from tvmkd.search.study.goal import in_unit
from tvmkd.search.study.networks import TRIALS, Candidate
from tvmkd.search.study.rungs import AtRung, beaten, rungs
from tvmkd.search.study.training import Trained, seconds_before, weights

if TYPE_CHECKING:
    import optuna

    from tvmkd.search.structure import Structure


class Stopped(Exception):
    """The training was ended at a rung.

    Attributes:
        epochs: that are done.
        score: at that rung.
    """

    def __init__(self, epochs: int, score: float) -> None:
        super().__init__(f"stopped after {epochs} epochs")
        self.epochs, self.score = epochs, score


def carry_out(bench: Bench, trial: optuna.Trial, structure: Structure) -> None:
    """Does one trial and tells the study how it ended.

    Whatever is wrong with the network or its training is a failed trial with one line; the search
    goes on.

    Raises:
        optuna.exceptions.StorageInternalError: the storage does not answer.
        optuna.exceptions.UpdateFinishedTrialError: another process has taken the trial for dead.
    """
    import optuna
    from optuna.trial import TrialState

    try:
        _Work(bench, trial, structure).do()
    except (optuna.exceptions.StorageInternalError, optuna.exceptions.UpdateFinishedTrialError):
        raise
    except Exception as error:  # a network may fail in any way
        line = describe(error)
        if not isinstance(error, TvmkdError):
            place = bench.plan.folder / TRIALS / f"error-{trial.number}.txt"
            write_text(place, "".join(traceback.format_exception(error)))
        trial.set_user_attr(points.ERROR, line)
        bench.study.tell(trial, state=TrialState.FAIL)
    finally:
        bench.quiet.rest()


def describe(error: BaseException) -> str:
    """An error in one line."""
    known = error if isinstance(error, TvmkdError) else blamed(error) or expected(error)
    if known is not None:
        return " ".join(str(known).split())
    return f"{type(error).__name__}: {first_line(error)}"


def facts(prediction: Prediction) -> dict[str, Any]:
    """A prediction, in the study's unit."""
    return {
        "predicted": in_unit(prediction.seconds),
        "low": in_unit(prediction.low),
        "high": in_unit(prediction.high),
        "interpolated": prediction.interpolated,
    }


def note_teacher(bench: Bench, candidate: Candidate) -> None:
    """Trains a network's teacher, if nobody has, and keeps what is known of it in the study."""
    bench.quiet.epoch()
    try:
        teacher = bench.training.teacher(candidate)
    finally:
        bench.quiet.rest()
    if teacher is not None and "teacher" not in bench.study.user_attrs:
        bench.study.set_user_attr("teacher", teacher.to_dict())


@dataclass
class _Work:
    """The steps of one trial."""

    bench: Bench
    trial: optuna.Trial
    structure: Structure

    def do(self) -> None:
        from optuna.trial import TrialState

        bench, trial, goal = self.bench, self.trial, self.bench.goal
        bench.doing("lowering", trial=trial.number)
        candidate = bench.build(self.structure)
        times = predicting.times(bench, self.structure)
        prediction = times[-1]
        self._note(
            **facts(prediction),
            macs=candidate.size.macs,
            parameters=candidate.size.parameters,
            seed=candidate.seed,
        )
        # A network with exits may turn out to let every image leave at the first one.
        why = goal.hopeless(times[0], self._costs())
        if why is not None:
            self._give_up(times[0], why)
            return
        try:
            trained = self._train(candidate, in_unit(prediction.seconds))
        except Stopped as stop:
            self._constrain(in_unit(prediction.seconds))
            self._note(accuracy=stop.score, epochs=stop.epochs)
            bench.study.tell(trial, state=TrialState.PRUNED)
            return
        if not math.isfinite(trained.score):
            raise InputError(f"its score on the validation split is {trained.score}")
        self._note(accuracy=trained.score, test_accuracy=trained.test, epochs=trained.epochs)
        if candidate.cfg.early_exit is not None and trained.checkpoint is not None:
            prediction, shares = predicting.mean(times, candidate, trained.checkpoint)
            self._note(**facts(prediction), exits=shares)
        latency = self._measure(candidate, prediction, trained)
        self._constrain(latency)
        bench.study.tell(trial, goal.values(trained.score, latency))

    def _give_up(self, prediction: Prediction, why: str) -> None:
        """Ends a trial whose network cannot win; what it costs is what the sampler learns."""
        from optuna.trial import TrialState

        goal, latency = self.bench.goal, in_unit(prediction.seconds)
        self._note(**{points.INFEASIBLE: why})
        self._constrain(latency)
        if goal.objective == "weighted":
            best = 1.0 if goal.maximize else 0.0
            self.trial.report(goal.cost(best, in_unit(prediction.low)), step=0)
        self.bench.study.tell(self.trial, state=TrialState.PRUNED)

    def _train(self, candidate: Candidate, latency: float) -> Trained:
        """Trains the network; what was trained before an interruption counts.

        Raises:
            Stopped: at a rung.
        """
        bench, number = self.bench, self.trial.number
        epochs = candidate.cfg.distill.epochs
        bench.doing("waiting for the teacher", trial=number)
        note_teacher(bench, candidate)

        def report(done: int, note: str) -> None:
            bench.quiet.epoch()
            bench.doing(note or "training", trial=number, done=done, total=epochs)

        def reached(epoch: int, score: float) -> None:
            if self._loses(epoch, score, latency, candidate):
                raise Stopped(epoch, score)

        before = seconds_before(candidate)
        began = time.monotonic()
        judged = Rungs(frozenset(rungs(epochs, candidate.steps, bench.plan.search.stop)), reached)
        try:
            trained = bench.training.fit(candidate, judged, report)
        except BaseException:
            self._note(
                seconds=before + time.monotonic() - began, **self._weights(weights(candidate))
            )
            raise
        finally:
            bench.quiet.rest()
        self._note(seconds=trained.seconds, **self._weights(trained.checkpoint))
        return trained

    def _loses(self, epoch: int, score: float, latency: float, candidate: Candidate) -> bool:
        """Whether a training ends at a rung."""
        goal, trial = self.bench.goal, self.trial
        if not goal.several:
            trial.report(goal.values(score, latency)[0], epoch)
            return bool(trial.should_prune())
        name = f"rung:{epoch}"
        trial.set_user_attr(name, score)
        others = [
            AtRung(other.user_attrs[name], other.user_attrs["predicted"])
            for other in self.bench.study.get_trials(deepcopy=False)
            if name in other.user_attrs
            and other.number != trial.number
            and points.VOID not in other.user_attrs
        ]
        images = candidate.session.task.count("val")
        return beaten(AtRung(score, latency), others, images, maximize=goal.maximize)

    def _measure(self, candidate: Candidate, prediction: Prediction, trained: Trained) -> float:
        """The network's latency: measured if it may be on the front, else predicted.

        Raises:
            InputError: it cannot be exported or built for the target.
        """
        bench, predicted = self.bench, in_unit(prediction.seconds)
        low = in_unit(prediction.low)
        if trained.checkpoint is None or not measuring.can_be(candidate.cfg):
            return predicted
        if not measuring.wanted(bench, trained.score, low):
            return predicted
        bench.doing("measuring", trial=self.trial.number)
        try:
            measured = measuring.measure(bench, trained.checkpoint, candidate, trained.onnx)
        except (MissingError, WorkerDied) as error:
            measuring.tell_once(bench, describe(error))
            return predicted
        bench.away = None
        latency = in_unit(measured.seconds)
        self._note(**{points.MEASURED: latency, points.BOARD_SECONDS: measured.board_seconds})
        return latency

    def _costs(self) -> list[float]:
        """``weighted``: of the networks that are known; none if nobody knows the best score."""
        goal = self.bench.goal
        if goal.objective != "weighted":
            return []
        known = usable(self.bench.points())
        if any(not 0 <= accuracy_of(point) <= 1 for point in known):
            return []  # a score of the user's, in percent or decibels
        return [goal.cost(accuracy_of(point), latency_of(point)) for point in known]

    def _constrain(self, latency: float) -> None:
        excess = self.bench.goal.excess(latency)
        if excess is not None:
            self.trial.set_constraint("budget", excess)

    def _weights(self, path: Path | None) -> dict[str, Any]:
        """Where the weights are, for the study."""
        if path is None or not path.is_file():
            return {}
        place = path.relative_to(self.bench.plan.folder).as_posix()
        return {"checkpoint": place, points.HOST: platform.node()}

    def _note(self, **values: Any) -> None:
        for name, value in values.items():
            if value is not None:
                self.trial.set_user_attr(name, value)
