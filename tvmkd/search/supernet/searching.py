"""A search by a supernet: trained once, evolved under the budget, its best networks trained on."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base import console
from tvmkd.base.errors import InputError, MissingError, TvmkdError, UsageError, WorkerDied
from tvmkd.base.files import read_text, write_json
from tvmkd.base.wire import Event
from tvmkd.models import checkpoint as files
from tvmkd.search import finishing, page, winner
from tvmkd.search.results import Study
from tvmkd.search.space import Space
from tvmkd.search.study import networks as trials
from tvmkd.search.study.bench import Plan
from tvmkd.search.study.goal import UNITS, Goal, limit
from tvmkd.search.study.opening import efficient_channels, with_channels
from tvmkd.search.study.studying import fill
from tvmkd.search.supernet import corners, training, winners
from tvmkd.search.supernet.blueprints import Blueprints
from tvmkd.search.supernet.budget import check_budget
from tvmkd.search.supernet.claim import claim
from tvmkd.search.supernet.evolution import evolve
from tvmkd.search.supernet.judging import Judge, Scores, identity, in_one_line, predicted
from tvmkd.search.supernet.nesting import check_nesting
from tvmkd.search.supernet.networks import Networks
from tvmkd.search.supernet.ranking import Judged, Ranking
from tvmkd.search.supernet.record import Record

if TYPE_CHECKING:
    from tvmkd.distill.task import Task
    from tvmkd.search.latency.prediction import Latency

FOLDER = "supernet"
"""Of the supernet's files, in the search's folder."""


def search(plan: Plan, event: Event) -> Study:
    """Trains the supernet, looks for its best parts, and makes networks of them.

    The supernet is kept: another call with other budgets or objectives does not train it again, and
    a call after an interruption goes on where the last one stopped.

    Args:
        plan: of the search.
        event: gets ``study`` (``study``: what is known) after each generation and winner, ``doing``
            (``worker``, ``text``, and maybe ``done`` and ``total``) and ``note`` (``text``).

    Raises:
        GateFailure: no network of the space meets the budget.
        InputError: the networks of the space share no weights, all of them fail, or something that
            the config names cannot be used.
        UsageError: it was started by torchrun.
        MissingError: a compiler stack is missing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError('method = "supernet" runs in one process: start it without torchrun')
    training.check(plan.cfg)
    space = Space.from_config(plan.cfg, plan.target, plan.search_in)
    sessions = trials.Networks(plan.folder, plan.target, plan.search_in)
    blueprints = Blueprints(plan.cfg, space, lambda cfg: sessions.session(cfg).task)
    ends = corners.find(blueprints)
    task = blueprints.task(ends.largest)
    shapes = {blueprints.task(each).input_shape for each in (ends.largest, ends.smallest)}
    if task.imitation() is None and len(shapes) > 1:
        raise InputError(
            f"[search.space]: {type(task).__name__} labels places in an image, and method = "
            '"supernet" scales the image alone: take resolution out of the space'
        )
    latency = plan.open_latency()
    try:
        settings = plan.search
        unit = UNITS[latency.unit]
        goal = Goal(
            settings.objective,
            limit(settings.limit, unit),
            settings.alpha,
            settings.beta,
            task.metric.higher_is_better,
        )
        claim(plan, plan.folder / FOLDER, task.sha256, goal, space.multiple)
        _fill(plan, latency, space, task, event)
        # Trained for all counts: the weights serve other targets, with other efficient ones, too.
        searched, starts = blueprints, ends
        if found := _channels(plan, space, latency, task):
            space = with_channels(space, found)
            searched = Blueprints(plan.cfg, space, lambda cfg: sessions.session(cfg).task)
            starts = corners.find(searched)
        record = Record(plan, goal, space, latency, task.metric.name)
        return _Search(plan, event, blueprints, ends, searched, starts, sessions, record).do()
    finally:
        close = getattr(latency, "close", None)
        if close is not None:
            close()


def _fill(plan: Plan, latency: Latency, space: Space, task: Task, event: Event) -> None:
    def doing(text: str, **more: Any) -> None:
        event("doing", {"worker": 0, "text": text, **more})

    fill(plan, latency, space, task, doing, lambda text: event("note", {"text": text}))


def _channels(plan: Plan, space: Space, latency: Latency, task: Task) -> dict[str, list[float]]:
    """The efficient channel counts for the target, where the space asks for them; kept.

    Raises:
        InputError: the latency of no network can be predicted.
    """
    path = plan.folder / FOLDER / f"channels-{plan.target.name}.json"
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads(read_text(path)))
    found = efficient_channels(space, latency, task)
    if found:
        write_json(path, found)
    return found


@dataclass
class _Search:
    """The steps of one search.

    Attributes:
        blueprints, ends: of the networks that are trained together.
        searched, starts: of those of them that are looked at.
    """

    plan: Plan
    event: Event
    blueprints: Blueprints
    ends: corners.Corners
    searched: Blueprints
    starts: corners.Corners
    sessions: trials.Networks
    record: Record

    def do(self) -> Study:
        plan, record, settings = self.plan, self.record, self.plan.search.supernet
        left_out = check_nesting(self.blueprints, self.ends, plan.search.seed)
        if left_out is not None:
            self._note(f"warning: {left_out}")
        # Winners are measured: without that, the high end of a prediction has to meet the budget.
        ranking = Ranking(record.goal, sure=not plan.search.measure)
        self._doing("looking for a network within the budget")
        check_budget(
            self.searched,
            self.starts,
            lambda structure: predicted(self.blueprints, record.latency, structure),
            ranking,
            unit=record.unit,
            seed=plan.search.seed,
        )
        networks = self._train()
        judge = self._judge(networks, ranking)
        record.judged = evolve(
            self.searched,
            judge,
            ranking,
            population=settings.population,
            generations=settings.generations,
            seed=plan.search.seed,
            start=(self.starts.smallest, self.starts.largest),
            report=lambda found: self._generation(found, judge),
        )
        if all(each.error is not None for each in record.judged):
            raise InputError(f"all networks of the space fail; the first: {record.judged[0].error}")
        for place, each in enumerate(winners.choose(record.judged, ranking, settings.winners)):
            self._tune(place, each, judge)
        return self._finish()

    def _train(self) -> Networks:
        settings = self.plan.search.supernet
        cfg = self.blueprints.config(self.ends.largest)
        teacher = self.sessions.teacher(self.sessions.session(cfg))
        self.record.teacher = None if teacher is None else teacher[1]
        networks, state = training.train(
            self.blueprints,
            self.ends,
            settings,
            self.sessions,
            self.plan.folder / FOLDER / "supernet.pt",
            lambda done, note: self._doing(f"supernet: {note}", done, settings.epochs),
        )
        self.record.seconds = state.seconds
        if networks.channels is None:
            self._note(
                "warning: networks share the leading channels of each layer, which is not right "
                f"behind concatenations and in grouped convolutions: {networks.problem}"
            )
        return networks

    def _judge(self, networks: Networks, ranking: Ranking) -> Judge:
        settings = self.plan.search.supernet
        task = self.blueprints.task(self.ends.largest)
        facts = identity(
            weights=files.fingerprint(networks.largest.state_dict()),
            data=task.sha256,
            images=settings.calibration,
            validation=settings.validation,
        )
        return Judge(
            networks,
            self.record.latency,
            ranking,
            Scores(self.plan.folder / FOLDER / "scores.json", facts),
            self.sessions.session(self.plan.cfg).team,
            images=settings.calibration,
            validation=settings.validation,
        )

    def _generation(self, found: Sequence[Judged], judge: Judge) -> None:
        judge.scores.write()
        self.record.judged = found
        self._tell()
        self._doing("evolution", len(found), None)

    def _tune(self, place: int, judged: Judged, judge: Judge) -> None:
        """Trains a winner on and measures it; what is wrong with it is in its point."""
        record, plan, settings = self.record, self.plan, self.plan.search.supernet
        path = plan.folder / trials.TRIALS / f"{FOLDER}-{judged.key}" / "student.pt"
        name = f"winner {place + 1} of {settings.winners}"
        try:
            record.tuned[judged.key] = winners.tune(
                self.blueprints.config(judged.structure),
                judge.network(judged.structure),
                settings,
                self.sessions,
                path,
                lambda done, note: self._doing(f"{name}: {note}", done, settings.tuning_epochs),
            )
            onnx = self._finished(judged)
            if plan.search.measure:
                self._doing(f"{name}: measuring")
                record.measured[judged.key] = record.latency.measure(onnx)
        except (MissingError, WorkerDied) as error:
            self._note(f"warning: not measured: {in_one_line(error)}; its predicted latency stands")
        except TvmkdError as error:
            record.tuned.pop(judged.key, None)
            record.failed[judged.key] = in_one_line(error)
        self._tell()

    def _finished(self, judged: Judged) -> Path:
        """Exports a winner; prunes it and puts it into its precision, if the config says so.

        Its scores are those of the network that it becomes.

        Raises:
            InputError: it cannot be exported, pruned or quantised.
        """
        cfg, tuned = self.blueprints.config(judged.structure), self.record.tuned[judged.key]
        session = self.sessions.session(cfg)
        with console.quiet():  # its bars are not those of the search
            found = finishing.finish(
                cfg,
                session.task,
                tuned.checkpoint,
                session.out,
                tuned.checkpoint.parent,
                self.blueprints.space.multiple,
                self.plan.search_in,
            )
        if not finishing.is_final(cfg):
            self.record.tuned[judged.key] = replace(
                tuned, score=found.score, test=found.test, seconds=tuned.seconds + found.seconds
            )
        return found.onnx

    def _finish(self) -> Study:
        """Writes the study, its page, and the winner as files."""
        plan, found = self.plan, self.record.write(complete=True)
        won = next((point for point in found.points if point.number == found.winner), None)
        if won is not None:
            session = self.sessions.session(self.blueprints.config(won.structure))
            trained = session.out / "teacher.pt"
            teacher = trained if trained.is_file() else None
            winner.write(found, plan.cfg, self.blueprints.space, plan.folder, teacher=teacher)
        page.write(found, plan.folder / page.PARETO)
        return found

    def _tell(self) -> None:
        self.event("study", {"study": self.record.write()})

    def _doing(self, text: str, done: int = 0, total: int | None = None) -> None:
        self.event("doing", {"worker": 0, "text": text, "done": done, "total": total})

    def _note(self, text: str) -> None:
        self.event("note", {"text": text})
