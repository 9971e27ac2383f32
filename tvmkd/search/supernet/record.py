"""What a search by a supernet knows, as a study: written after each generation and winner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tvmkd.base.files import write_text
from tvmkd.base.version import __version__
from tvmkd.search import choice
from tvmkd.search.front import accuracy_of, latency_of, reference, usable
from tvmkd.search.results import STUDY, Point, State, Study
from tvmkd.search.study.goal import UNITS, Unit, in_unit

if TYPE_CHECKING:
    from tvmkd.distill.results import Network
    from tvmkd.search.latency.prediction import Latency, Measured
    from tvmkd.search.space import Space
    from tvmkd.search.study.bench import Plan
    from tvmkd.search.study.goal import Goal
    from tvmkd.search.supernet.ranking import Judged
    from tvmkd.search.supernet.winners import Tuned


@dataclass
class Record:
    """Networks in the order in which they were evaluated, and what became of the best.

    Attributes:
        plan, goal, space, latency: of the search.
        metric: name of the deciding score.
        judged: all networks.
        tuned, measured, failed: of the winners, by key.
        teacher: None without one.
        seconds: of the supernet's training.
    """

    plan: Plan
    goal: Goal
    space: Space
    latency: Latency
    metric: str
    judged: Sequence[Judged] = ()
    tuned: dict[str, Tuned] = field(default_factory=dict)
    measured: dict[str, Measured] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    teacher: Network | None = None
    seconds: float = 0.0

    @property
    def unit(self) -> Unit:
        """Of latencies."""
        return UNITS[self.latency.unit]

    def study(self, *, complete: bool = False) -> Study:
        """The study so far."""
        goal, points = self.goal, [self.point(*each) for each in enumerate(self.judged)]
        found = Study(
            tvmkd_version=__version__,
            name=self.plan.cfg.project.name,
            method="supernet",
            objective=goal.objective,
            target=self.plan.target.name,
            unit=self.unit,
            budget=goal.budget,
            metric=self.metric,
            maximize=goal.maximize,
            alpha=goal.alpha,
            beta=goal.beta,
            seed=self.plan.search.seed,
            teacher=self._teacher(),
            table=self.latency.describe(),
            space=dict(self.space.describe()),
            points=points,
            reference=self._reference(points),
            board_seconds=math.fsum(each.board_seconds for each in self.measured.values()),
            training_seconds=self.seconds + math.fsum(point.seconds for point in points),
            complete=complete,
        )
        won = choice.of_study(found).winner
        return found.model_copy(update={"winner": None if won is None else won.number})

    def write(self, *, complete: bool = False) -> Study:
        """Writes ``study.json`` in one step."""
        found = self.study(complete=complete)
        write_text(self.plan.folder / STUDY, found.model_dump_json(indent=2) + "\n")
        return found

    def point(self, number: int, judged: Judged) -> Point:
        """A network as a point.

        ``complete`` if it was trained on, ``pruned`` if it was only evaluated with the supernet's
        weights: that accuracy is not comparable with those of trained networks.
        """
        tuned, measured = self.tuned.get(judged.key), self.measured.get(judged.key)
        error = self.failed.get(judged.key, judged.error)
        state: State = "infeasible"
        known: dict[str, Any] = {"accuracy": judged.score}
        if tuned is not None:
            state = "complete"
            known = {
                "accuracy": tuned.score,
                "test_accuracy": tuned.test,
                "epochs": tuned.epochs,
                "seconds": tuned.seconds,
                "seed": tuned.seed,
                "checkpoint": tuned.checkpoint.relative_to(self.plan.folder).as_posix(),
            }
        elif error is not None:
            state = "failed"
        elif judged.score is not None:
            state = "pruned"
        return Point(
            number=number,
            structure=judged.structure,
            state=state,
            predicted=judged.predicted,
            low=judged.low,
            high=judged.high,
            interpolated=judged.interpolated,
            measured=None if measured is None else in_unit(measured.seconds),
            macs=judged.macs,
            parameters=judged.parameters,
            error=error,
            **known,
        )

    def _teacher(self) -> dict[str, Any]:
        if self.teacher is None:
            return {}
        return {
            "model": self.teacher.model,
            "accuracy": self.teacher.test_accuracy,
            "macs": self.teacher.macs,
            "parameters": self.teacher.parameters,
        }

    def _reference(self, points: Sequence[Point]) -> tuple[float, float] | None:
        known = usable(points)
        with suppress(ValueError):
            return reference(
                [accuracy_of(point) for point in known],
                [latency_of(point) for point in known],
                maximize=self.goal.maximize,
            )
        return None
