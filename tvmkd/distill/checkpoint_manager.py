"""A training's checkpoint: read at the start, written between epochs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from torch import nn

from tvmkd.base import console
from tvmkd.base.errors import InputError
from tvmkd.base.text import first_line
from tvmkd.distill import epoch_clock
from tvmkd.distill.distributed import Team
from tvmkd.distill.epoch_clock import Lap
from tvmkd.distill.task import Metric
from tvmkd.distill.training import Job, Report
from tvmkd.distill.weight_average import WeightAverage
from tvmkd.models import branched, state_dicts
from tvmkd.models import checkpoint as files
from tvmkd.models.checkpoint import Checkpoint

AVERAGE = "ema"
"""Where a checkpoint keeps the trained weights, if its network has the averaged ones."""


class Stateful(Protocol):
    """What resumes where it stopped: an optimizer, a loss with weights."""

    def state_dict(self) -> dict[str, Any]:
        """Its present state."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Resumes from a state."""


class CheckpointManager:
    """Resumes a training from its checkpoint, and writes it at the end of epochs.

    Args:
        job: the training.
        network: gets the weights of a checkpoint of the same training.
        parts: what else is saved, by name; ``network``: all weights of a network with branches,
            of which the checkpoint's own are fused.
        team: only its leader writes.
        report: called with the epochs done and a note, at the start and after each epoch.
        meta: of a new checkpoint; ``training`` identifies the training.
        metric: of `end_epoch`'s score.
        average: of the network's weights: what is scored and saved; the network has it when the
            training is done. None: there is none.

    Attributes:
        state: the checkpoint; its ``epoch`` is how many are done.
    """

    def __init__(
        self,
        job: Job,
        network: nn.Module,
        parts: Mapping[str, Stateful],
        team: Team,
        report: Report,
        meta: dict[str, str],
        metric: Metric,
        average: WeightAverage | None = None,
    ) -> None:
        self._job, self._network, self._parts = job, network, parts
        self._team, self._report, self._metric = team, report, metric
        self._average = average
        found = _resume(job, meta["training"])
        seed = {"seed": job.settings.seed}
        self.state = found or Checkpoint(job.model, {}, rng=seed, meta=meta)
        if found is not None:
            try:
                self._restore(found)
            except (RuntimeError, ValueError, KeyError) as error:
                raise InputError(
                    f"{job.path}: does not fit the {job.name} any more ({first_line(error)}); "
                    "remove it to train again"
                ) from error
        # Nobody writes before everybody has read.
        team.wait()
        self._before = self.state.seconds
        self._began = self._saved = time.monotonic()
        report(self.state.epoch, self._note())
        for entry in self.state.history:
            self._judge(entry)

    def _restore(self, found: Checkpoint) -> None:
        """Takes over the state of all parts."""
        parts, saved = self._parts, found.optimizer or {}
        if "network" not in parts:
            self._network.load_state_dict(found.state)
        for name in parts.keys() & saved.keys():
            parts[name].load_state_dict(saved[name])
        if self._average is not None and found.epoch < self._job.settings.last:
            self._average.load_state_dict(saved[AVERAGE])

    def end_epoch(
        self, loss: float, score: Callable[[], float], lap: Lap = lambda phase: None
    ) -> None:
        """Adds an epoch to the history, with a score after every fifth of the training and rung.

        Args:
            loss: the mean over the epoch.
            score: evaluates the network.
            lap: called after the evaluation, and after the checkpoint if one is written.

        Raises:
            InputError: a weight is not finite; the checkpoint is not written.
        """
        problem = state_dicts.broken(self._network)
        if problem is not None:
            raise InputError(
                f"{self._job.name}: {problem} after epoch {self.state.epoch + 1}; lower its lr "
                f"({self._job.settings.lr:g}); no checkpoint of it is written"
            )
        self.state.epoch += 1
        entry = {"epoch": float(self.state.epoch), "loss": loss}
        with self._averaged():
            self._end(entry, score, lap)
        self._judge(entry)

    def _end(self, entry: dict[str, float], score: Callable[[], float], lap: Lap) -> None:
        """Scores and saves the network as it is now."""
        state, job, epochs = self.state, self._job, self._job.settings.last
        last = self._last
        rung = job.rungs is not None and state.epoch in job.rungs.epochs
        if last or rung or state.epoch % max(1, epochs // 5) == 0:
            lap(epoch_clock.OTHER)
            entry[self._key] = score()
            lap(epoch_clock.EVALUATION)
        state.history.append(entry)
        self._report(state.epoch, self._note())
        old = time.monotonic() - self._saved >= job.checkpoint_seconds
        if self._team.leader and (last or old or rung):
            state.seconds = self._before + time.monotonic() - self._began
            state.state = branched.plain_state(self._network)
            state.optimizer = {name: part.state_dict() for name, part in self._parts.items()}
            if self._average is not None and not last:
                state.optimizer[AVERAGE] = self._average.state_dict()
            files.save(job.path, state)
            if job.after_checkpoint is not None:
                job.after_checkpoint(job.path, state.epoch, self._network)
            self._saved = time.monotonic()
            lap(epoch_clock.CHECKPOINT)

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Meanwhile the network has the averaged weights, if there are any; at the end for good."""
        if self._average is None:
            yield
        elif self._last:
            self._average.swap()
            yield
        else:
            with self._average.applied():
                yield

    @property
    def _last(self) -> bool:
        """Whether the whole training is done."""
        return self.state.epoch == self._job.settings.last

    def finish(self) -> Checkpoint:
        """The last checkpoint, when the whole team is done."""
        self._team.wait()
        self.state.state = branched.plain_state(self._network)
        return self.state

    @property
    def _key(self) -> str:
        """Where an epoch's entry in the history has its score."""
        return f"val_{self._metric.key}"

    def _judge(self, entry: Mapping[str, float]) -> None:
        """Calls the job's rungs for an epoch that is one of them."""
        rungs, epoch = self._job.rungs, int(entry["epoch"])
        if rungs is not None and epoch in rungs.epochs and self._key in entry:
            rungs.reached(epoch, entry[self._key])

    def _note(self) -> str:
        history, key = self.state.history, self._key
        if not history:
            return ""
        scores = [entry[key] for entry in history if key in entry]
        score = f", validation {self._metric.text(scores[-1])}" if scores else ""
        return f"loss {history[-1]['loss']:.3f}{score}"


def _resume(job: Job, identity: str) -> Checkpoint | None:
    """The checkpoint to resume from, if there is one of the same training."""
    if not job.path.exists():
        return None
    try:
        found = files.load(job.path)
    except InputError as error:
        console.warn(f"{job.name} starts again: {error}")
        return None
    if found.meta.get("training") != identity or found.optimizer is None:
        return None
    return found
