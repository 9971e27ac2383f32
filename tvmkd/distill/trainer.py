"""Trains a network for any task, and resumes where it stopped."""

from __future__ import annotations

import math
import random
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from tvmkd.base import user_code
from tvmkd.base.errors import InputError
from tvmkd.distill.checkpoint_manager import CheckpointManager, Stateful
from tvmkd.distill.distributed import ALONE, Team
from tvmkd.distill.memory_format import to_device
from tvmkd.distill.optimizer import Optimizer
from tvmkd.distill.task import Epoch, Task
from tvmkd.distill.training import Job, Report, Settings
from tvmkd.models.checkpoint import Checkpoint

if TYPE_CHECKING:
    from rich.progress import Progress


class Trainer:
    """The one training loop: for teachers, students and fine-tuning, whatever the task.

    AdamW, a short warm-up and a cosine to zero. Mixed precision where there is a GPU. Each epoch
    has its own seed, so a training that was killed and started again ends in the same weights as
    one that was not. Several processes end in the same weights as one, within rounding.

    Args:
        task: what is learnt.
        team: the processes that share each batch.
        progress: shows a bar for each training.
    """

    def __init__(self, task: Task, team: Team = ALONE, progress: Progress | None = None) -> None:
        self.task, self.team, self._progress = task, team, progress

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
        task, team, settings = self.task, self.team, job.settings
        steps = self.steps(settings)
        to_device(network, team.device)
        own = job.loss.to(team.device) if isinstance(job.loss, nn.Module) else None
        weights = [*network.parameters(), *([] if own is None else own.parameters())]
        if not any(weight.requires_grad for weight in weights):
            raise InputError(
                f"{job.name}: none of its weights needs a gradient: remove requires_grad_(False)"
            )
        optimizer = Optimizer(weights, settings, settings.epochs * steps, team, task.clip)
        parts: dict[str, Stateful] = {"optimizer": optimizer, "scaler": optimizer.scaler}
        if own is not None:
            parts["loss"] = own
        meta = {"training": job.identity(task, team.size), **task.metadata(network)}
        meta["input_shape"] = ",".join(map(str, task.input_shape))
        manager = CheckpointManager(
            job, network, parts, team, report or self._bar(job), meta, task.metric
        )
        for number in range(manager.state.epoch, settings.epochs):
            epoch = make_epoch(job, task.count("train"), steps, number, team)
            with user_code.guard(job.name, theirs=job.by_user), team.synchronised(network):
                mean = self._epoch(network, job, epoch, optimizer)
            manager.end_epoch(mean, lambda: task.score(network, "val", team))
        return manager.finish()

    def steps(self, settings: Settings) -> int:
        """Steps in an epoch of a training.

        Raises:
            InputError: as `steps_in_epoch`.
        """
        return steps_in_epoch(self.task.count("train"), settings.batch_size, self.team)

    def _epoch(self, network: nn.Module, job: Job, epoch: Epoch, optimizer: Optimizer) -> float:
        """Trains for one epoch; returns the mean loss."""
        task, device, steps = self.task, self.team.device, len(epoch.order)
        # Numbers that lie on a GPU are looked at once an epoch: each look would wait for it.
        at_once = device.type == "cpu"
        found = torch.zeros(2, steps, device=device)
        network.train()
        with closing(task.batches(epoch)) as coming:
            for step, batch in enumerate(coming):
                batch = batch.to(device)
                with optimizer.precision():
                    output = task.forward(network, batch.images)
                    loss = job.loss(batch, output)
                    extra = job.latency.loss(network) if job.latency else None
                    loss = loss if extra is None else loss + extra
                if not loss.requires_grad:
                    raise InputError(
                        f"{job.name}: its loss does not depend on a weight that needs a gradient; "
                        "look for torch.no_grad, detach or frozen layers in its forward"
                    )
                value, norm = optimizer.step(loss, epoch.number * steps + step)
                if at_once:
                    _check(value.item(), norm.item(), job, epoch, step)
                found[0, step], found[1, step] = value, norm
        for step, (first, second) in enumerate([] if at_once else found.T.tolist()):
            _check(first, second, job, epoch, step)
        return float(found[0].mean())

    def _bar(self, job: Job) -> Report:
        progress = self._progress
        if progress is None:
            return lambda done, note: None
        bar = progress.add_task(job.name, total=job.settings.epochs, note="")
        return lambda done, note: progress.update(bar, completed=done, note=note)


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
