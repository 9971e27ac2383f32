"""Trains a network for any task, and resumes where it stopped."""

from __future__ import annotations

import math
import random
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tvmkd.base import user_code
from tvmkd.base.allocator import keep_freed_memory
from tvmkd.base.errors import InputError
from tvmkd.distill import epoch_clock, loss_parts
from tvmkd.distill.checkpoint_manager import CheckpointManager, Stateful
from tvmkd.distill.distributed import ALONE, Team
from tvmkd.distill.epoch_clock import EpochClock
from tvmkd.distill.memory_format import to_device
from tvmkd.distill.optimizer import Optimizer
from tvmkd.distill.recorder import Recorder
from tvmkd.distill.task import Batch, Epoch, Task
from tvmkd.distill.training import Job, Report, Settings
from tvmkd.distill.weight_average import WeightAverage
from tvmkd.models import branched
from tvmkd.models.checkpoint import Checkpoint

if TYPE_CHECKING:
    from rich.progress import Progress


class Trainer:
    """The one training loop: for teachers, students and fine-tuning, whatever the task.

    AdamW (or SGD), a short warm-up and a cosine to zero. Mixed precision where there is a GPU. Each
    epoch has its own seed, so a training that was killed and started again ends in the same weights
    as one that was not. Several processes end in the same weights as one, within rounding.

    Args:
        task: what is learnt.
        team: the processes that share each batch.
        progress: shows a bar for each training.
        recorder: gets the numbers of each epoch.
    """

    def __init__(
        self,
        task: Task,
        team: Team = ALONE,
        progress: Progress | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.task, self.team, self._progress = task, team, progress
        self._recorder = recorder

    def fit(self, network: nn.Module, job: Job, report: Report | None = None) -> Checkpoint:
        """Trains ``network`` in place and returns its last checkpoint.

        Args:
            network: moved to the team's device.
            job: the training.
            report: called with the epochs done and a note; by default, a bar.

        Raises:
            InputError: a loss or a gradient is not finite (says in which batch; no weight has
                moved by it and the last checkpoint is kept), nothing can be trained, a user's code
                fails, an image cannot be read, or the checkpoint cannot be written.
        """
        keep_freed_memory()
        task, team, settings = self.task, self.team, job.settings
        steps = self.steps(settings)
        to_device(network, team.device)
        own = job.loss.to(team.device) if isinstance(job.loss, nn.Module) else None
        weights = [*network.parameters(), *([] if own is None else own.parameters())]
        if not any(weight.requires_grad for weight in weights):
            raise InputError(
                f"{job.name}: none of its weights needs a gradient: remove requires_grad_(False)"
            )
        # A teacher's own training and a baseline have one part only: DOT is plain SGD for them.
        divided = bool(getattr(job.loss, "divided", False))
        optimizer = Optimizer(weights, settings, settings.epochs * steps, team, task.clip, divided)
        parts: dict[str, Stateful] = {"optimizer": optimizer, "scaler": optimizer.scaler}
        if own is not None:
            parts["loss"] = own
        if branched.present(network):
            # The checkpoint's own weights are those of the fused network.
            parts["network"] = network
        meta = {"training": job.identity(task, team.size), **task.metadata(network)}
        meta["input_shape"] = ",".join(map(str, task.input_shape))
        average = WeightAverage(network, settings.ema) if settings.ema else None
        manager = CheckpointManager(
            job, network, parts, team, report or self._bar(job), meta, task.metric, average
        )
        record = None
        if self._recorder is not None:
            record = self._recorder.begin(job, task.metric, manager.state)
        for number in range(manager.state.epoch, settings.last):
            clock = EpochClock(asynchronous=team.device.type != "cpu")
            epoch = make_epoch(job, task.count("train"), steps, number, team)
            clock.lap(epoch_clock.OTHER)
            collected = loss_parts.collected() if record else nullcontext()
            with (
                user_code.guard(job.name, theirs=job.by_user),
                team.synchronised(network),
                collected as noted,
            ):
                losses, norms = self._epoch(network, job, epoch, optimizer, average, clock)
            manager.end_epoch(
                float(losses.mean()), lambda: task.score(network, "val", team), clock.lap
            )
            if record is not None and noted is not None:
                record.epoch(
                    manager.state.history[-1],
                    images=sum(map(len, epoch.order)),
                    steps=steps,
                    lr=optimizer.rate,
                    # Where a scaler leaves steps out, the norms are not there to be told.
                    norms=None if optimizer.half else (float(norms.mean()), float(norms.max())),
                    parts=noted,
                    clock=clock,
                )
        return manager.finish()

    def steps(self, settings: Settings) -> int:
        """Steps in an epoch of a training.

        Raises:
            InputError: as `steps_in_epoch`.
        """
        return steps_in_epoch(self.task.count("train"), settings.batch_size, self.team)

    def _epoch(
        self,
        network: nn.Module,
        job: Job,
        epoch: Epoch,
        optimizer: Optimizer,
        average: WeightAverage | None,
        clock: EpochClock,
    ) -> Tensor:
        """Trains for one epoch; returns each step's loss and gradient's norm: ``[2, steps]``."""
        task, device, steps = self.task, self.team.device, len(epoch.order)
        # Numbers that lie on a GPU are looked at once an epoch: each look would wait for it.
        at_once = device.type == "cpu"
        found = torch.zeros(2, steps, device=device)
        network.train()
        with closing(task.batches(epoch)) as coming:
            for step, batch in enumerate(clock.waiting(coming)):
                batch = batch.to(device)
                with optimizer.precision():
                    output = task.forward(network, batch.images)
                    loss, *taught = _loss(job, batch, output, optimizer.divided)
                    extra = job.latency.loss(network) if job.latency else None
                    if extra is not None:
                        loss = loss + loss_parts.note("latency", extra)
                clock.lap(epoch_clock.FORWARD)
                if not loss.requires_grad:
                    raise InputError(
                        f"{job.name}: its loss does not depend on a weight that needs a gradient; "
                        "look for torch.no_grad, detach or frozen layers in its forward"
                    )
                value, norm = optimizer.step(loss, epoch.number * steps + step, *taught)
                if average is not None:
                    average.update(epoch.number * steps + step)
                if at_once:
                    _check(value.item(), norm.item(), job, epoch, step)
                found[0, step], found[1, step] = value, norm
                clock.lap(epoch_clock.STEP)
        for step, (first, second) in enumerate([] if at_once else found.T.tolist()):
            _check(first, second, job, epoch, step)
        clock.lap(epoch_clock.STEP)
        return found

    def _bar(self, job: Job) -> Report:
        progress = self._progress
        if progress is None:
            return lambda done, note: None
        bar = progress.add_task(job.name, total=job.settings.last, note="")
        return lambda done, note: progress.update(bar, completed=done, note=note)


def _loss(job: Job, batch: Batch, output: Any, divided: bool) -> list[Tensor]:
    """The loss, and if it is to be divided the part of it that comes from the teacher."""
    if not divided:
        return [job.loss(batch, output)]
    parts: Any = job.loss
    hard, taught = parts.parts(batch, output)
    return [hard + taught, taught]


def steps_in_epoch(count: int, batch_size: int, team: Team) -> int:
    """Steps in an epoch of ``count`` images.

    A last, smaller batch is left out, unless it is the only one: batch normalisation would weigh
    its few images too much, and cannot train on a single one.

    Raises:
        InputError: a process would get fewer than 2 images of a batch, or the processes different
            numbers of them.
    """
    size = min(batch_size, count)
    where = f"[data] batch_size {batch_size} with {count} training images on {team.size} processes"
    if size < 2 * team.size:
        raise InputError(f"{where} leaves less than 2 images to each")
    if size % team.size:
        raise InputError(
            f"{where} gives some more images than others: set batch_size to a multiple of "
            f"{team.size}, at most {count}"
        )
    return max(1, count // batch_size)


def make_epoch(job: Job, count: int, steps: int, number: int, team: Team) -> Epoch:
    """One epoch of a training; seeds everything that a model or a user's code may draw from.

    Each process draws the same order and the same changes to images; what a network draws itself,
    such as dropout, differs between processes.
    """
    settings = job.settings
    numbers = np.random.SeedSequence([settings.seed, number, team.rank]).generate_state(3)
    torch.manual_seed(int(numbers[0]))
    random.seed(int(numbers[1]))
    np.random.seed(int(numbers[1]))  # noqa: NPY002 - a user's own layer may use it
    changes = np.random.SeedSequence([settings.seed, number, 0]).generate_state(3)[2]
    return Epoch(
        order=_order(job, count, steps, number),
        number=number,
        epochs=settings.epochs,
        generator=torch.Generator().manual_seed(int(changes)),
        view=_view(settings, job.variants, number),
        team=team,
        views=job.variants,
    )


def _order(job: Job, count: int, steps: int, number: int) -> list[Tensor]:
    """The images of each batch of an epoch."""
    settings = job.settings
    (seed,) = np.random.SeedSequence([settings.seed, number]).generate_state(1)
    generator = torch.Generator().manual_seed(int(seed))
    if job.curriculum is not None:
        order = job.curriculum.order(number / settings.epochs, generator)
    else:
        order = torch.randperm(count, generator=generator)
    return list(torch.split(order, settings.batch_size)[:steps])


def _view(settings: Settings, variants: int, number: int) -> int:
    """Which random view of each image an epoch trains on: one of a few, or a new one."""
    return number % variants if variants else settings.seed * settings.epochs + number


def _check(loss: float, norm: float, job: Job, epoch: Epoch, step: int) -> None:
    """Raises if the loss of a step or its gradient's norm is not finite."""
    for what, number in (("loss", loss), ("gradient's norm", norm)):
        if not math.isfinite(number):
            raise job.not_finite(what, number, epoch.number, step, list(epoch.order))
