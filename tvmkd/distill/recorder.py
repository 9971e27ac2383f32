"""Records the trainings of a run: histories beside the checkpoints, ``training.html``, a logger."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tvmkd.base import console, user_code
from tvmkd.base.errors import InputError
from tvmkd.distill import loggers
from tvmkd.distill.distributed import Team
from tvmkd.distill.epoch_clock import EpochClock
from tvmkd.distill.loss_parts import Parts, with_rest
from tvmkd.distill.task import Metric
from tvmkd.distill.training import Job
from tvmkd.models.checkpoint import Checkpoint
from tvmkd.report import training_history as histories
from tvmkd.report import training_page
from tvmkd.report.training_history import Epoch, Head, History

PAGE = "training.html"
EVERY = 5.0
"""Least seconds between two pages; more where one takes long to draw: that stays below 1 %."""


class Recorder:
    """What happens in a run's trainings, for whoever watches.

    Nothing here may end a training: what cannot be written is a warning, once.

    Args:
        folder: of the run.
        team: only its leader writes.
        log_to: ``[project] log_to``.
        name: of the run.
        search_in: folders to look in for a logger that is a ``module:callable``.

    Raises:
        MissingError, InputError: the logger cannot be had.
    """

    def __init__(
        self,
        folder: Path,
        team: Team,
        log_to: str | None = None,
        name: str = "run",
        search_in: Sequence[Path] = (),
    ) -> None:
        self.folder, self.team, self._name = folder, team, name
        loggers.check(log_to, search_in)
        self.logger = (
            loggers.make(log_to, folder, name, search_in) if log_to and team.leader else None
        )
        self._drawn, self._pause, self._broken = -math.inf, EVERY, False

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.team.leader:
            if self.logger is not None:
                self.logger.close()
            self._draw(running=None)

    def begin(self, job: Job, metric: Metric, state: Checkpoint) -> Record:
        """A training starts, resumes, or was finished before.

        Args:
            job: the training.
            metric: of its scores.
            state: its checkpoint: the epochs that are done.
        """
        head = Head(
            name=job.name,
            kind=re.sub(r" \(seed \d+\)|, step \d+", "", job.name),
            training=state.meta["training"],
            epochs=job.settings.last,
            metric=metric.name,
            percent=metric.unit == "%",
            rising=metric.higher_is_better,
            device=self.team.device.type,
            processes=self.team.size,
            started=time.time(),
        )
        history = None
        if self.team.leader:
            known = [of_checkpoint(entry, metric) for entry in state.history]
            history = self.attempt(
                lambda: histories.continued(histories.beside(job.path), head, known)
            )
            if self.logger is not None and state.epoch < head.epochs:
                self.logger.start(self.name_of(job), head, state.epoch)
        return Record(self, self.name_of(job), metric, history)

    def name_of(self, job: Job) -> str:
        """Unique in the run: ``students/distilled-0``."""
        path = job.path.with_suffix("")
        inside = path.is_relative_to(self.folder)
        return path.relative_to(self.folder).as_posix() if inside else path.name

    def attempt(self, action: Any) -> Any:
        """What the action returns; None with a warning if it fails: a full disk, for example."""
        if self._broken:
            return None
        try:
            return action()
        except Exception as error:  # whatever it is, the training is worth more
            self._broken = True
            what = str(error) if isinstance(error, InputError) else user_code.describe(error)
            console.warn(f"{what}; the training goes on, without {PAGE} and its histories")
            return None

    def show(self, history: History) -> None:
        """Draws the page while a training runs, if the last one is old enough."""
        if time.monotonic() - self._drawn >= self._pause:
            self._draw(running=history)

    def _draw(self, running: History | None) -> None:
        began = time.monotonic()
        known = histories.of_run(self.folder)
        if known:
            path = self.folder / PAGE
            self.attempt(lambda: training_page.write(path, self._name, known, running))
        self._drawn = time.monotonic()
        self._pause = max(EVERY, 100 * (self._drawn - began))


class Record:
    """One training of a `Recorder`."""

    def __init__(
        self, recorder: Recorder, name: str, metric: Metric, history: History | None
    ) -> None:
        self._recorder, self._name, self._metric = recorder, name, metric
        self._history = history

    def epoch(
        self,
        entry: Mapping[str, float],
        *,
        images: int,
        steps: int,
        lr: float,
        norms: tuple[float, float] | None,
        parts: Parts,
        clock: EpochClock,
    ) -> None:
        """An epoch has ended; every process of the team calls this.

        Args:
            entry: as it is in the checkpoint's history.
            images: that were trained on, by all processes.
            steps: how many.
            lr: the learning rate of the last one.
            norms: mean and maximum of the gradient's norm; None: not known.
            parts: of the loss.
            clock: where the time went.
        """
        found = averaged(self._recorder.team.gather([parts.means(steps)]))
        if not self._recorder.team.leader:
            return
        known = of_checkpoint(entry, self._metric)
        made = Epoch(
            epoch=known.epoch,
            loss=known.loss,
            parts=with_rest(found, known.loss),
            score=known.score,
            lr=lr,
            gradient_norm=None if norms is None else norms[0],
            gradient_norm_max=None if norms is None else norms[1],
            images_per_second=images / max(clock.training, 1e-9),
            seconds=dict(clock.seconds),
            ended=time.time(),
        )
        history = self._history
        if history is not None:
            self._history = self._recorder.attempt(lambda: histories.append(history, made))
        if self._recorder.logger is not None:
            self._recorder.logger.log(self._name, made.epoch, loggers.flat(made))
        if self._history is not None:
            self._recorder.show(self._history)


def of_checkpoint(entry: Mapping[str, float], metric: Metric) -> Epoch:
    """What a checkpoint knows of an epoch."""
    return Epoch(int(entry["epoch"]), entry["loss"], score=entry.get(f"val_{metric.key}"))


def averaged(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean over the processes; a part that one has not is 0 there."""
    names = dict.fromkeys(name for each in found for name in each)
    return {name: sum(each.get(name, 0.0) for each in found) / len(found) for name in names}
