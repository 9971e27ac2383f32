"""Trains one detector, for a teacher as for a student, and goes on where it was stopped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from tvmkd.distill.detector.evaluate import evaluate
from tvmkd.distill.detector.losses import DetectorDistillation
from tvmkd.distill.detector.teacher_cache import Teacher
from tvmkd.distill.detector.views import Views
from tvmkd.distill.distributed import Team
from tvmkd.distill.training import (
    Keeper,
    Report,
    Settings,
    Stateful,
    Training,
    fingerprint,
    groups,
    schedule,
    seed_epoch,
    to_device,
)
from tvmkd.models.checkpoint import Checkpoint
from tvmkd.models.detectors import Dense

CLIP = 10.0  # largest norm of a gradient: a box far from its anchor sends enormous ones


@dataclass(frozen=True, kw_only=True)
class Job(Training):
    """One training of a detector.

    Attributes:
        train, val: what is trained on and looked at.
        variants: how many views of each image there are, one an epoch in turn; 0: a new one each
            epoch.
        classes: the class map.
        data: hash of the data.
        distillation, teacher: both or neither.
    """

    train: Views
    val: Views
    variants: int
    classes: tuple[str, ...]
    data: str
    distillation: DetectorDistillation | None = None
    teacher: Teacher | None = None


def fit(network: Dense, job: Job, team: Team, report: Report) -> Checkpoint:
    """Trains ``network`` in place and returns its last checkpoint.

    As for classifiers: AdamW, a warm-up and a cosine, a seed for each epoch. Every batch's loss and
    gradient are looked at before a weight moves. bfloat16 where there is a GPU.

    Raises:
        InputError: the loss is no longer a number (says in which batch; the last checkpoint is
            kept), an image cannot be read, or the checkpoint cannot be written.
    """
    settings, device = job.settings, team.device
    to_device(network, device)
    own = job.distillation.to(device) if job.distillation is not None else None
    weights = [*network.parameters(), *([] if own is None else own.parameters())]
    optimizer = torch.optim.AdamW(
        groups(weights, settings.weight_decay), lr=settings.lr, fused=True
    )
    parts: dict[str, Stateful] = {"optimizer": optimizer}
    if own is not None:
        parts["loss"] = own
    # With what its outputs mean, so that it can be exported as it lies.
    about = network.describe(job.classes).to_metadata()
    shape = f"1,3,{network.size},{network.size}"
    meta = {"training": _identity(job, team), **about, "input_shape": shape}
    keeper = Keeper(job, network, parts, team, report, meta, "map")

    def score() -> float:
        return evaluate(network, job.val, job.classes, device).coco

    for epoch in range(keeper.state.epoch, settings.epochs):
        seed_epoch(settings.seed, epoch, team)
        order = _order(len(job.train), settings, epoch, team)
        view = epoch % job.variants if job.variants else settings.seed * settings.epochs + epoch
        network.train()
        total = 0.0
        for step, indices in enumerate(order):
            done = epoch * len(order) + step
            rate = settings.lr * schedule(done, settings.epochs * len(order))
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = _loss(network, job, indices, view, device)
            value = team.total([float(loss.detach())])[0] / team.size
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            team.average_gradients(weights)
            norm = float(torch.nn.utils.clip_grad_norm_(weights, CLIP))
            for name, number in (("loss", value), ("gradient's norm", norm)):
                if not math.isfinite(number):
                    raise job.not_a_number(name, number, epoch, step, len(order), indices)
            optimizer.step()
            total += value
        keeper.end_epoch(total / len(order), score)
    return keeper.finish()


def _loss(network: Dense, job: Job, indices: Tensor, view: int, device: torch.device) -> Tensor:
    places = indices.tolist()
    images, targets = job.train.batch(places, view)
    images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
    moved: Any = [
        {key: value.to(device) if isinstance(value, Tensor) else value for key, value in t.items()}
        for t in targets
    ]
    # Not on the CPU: oneDNN's bfloat16 convolutions return gradients that overflow.
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        found = network.raw(images)
        loss = network.loss(found, moved)
        if job.distillation is not None and job.teacher is not None:
            answers = job.teacher.answer(images, places, view)
            loss = loss + job.distillation(found, answers, moved)
    return loss


def _identity(job: Job, team: Team) -> str:
    return fingerprint(
        model=job.model,
        loss=job.loss_id,
        settings=asdict(job.settings),
        data=job.data,
        views=[job.train.size, job.train.augment, job.train.seed, job.variants],
        processes=team.size,
    )


def _order(count: int, settings: Settings, epoch: int, team: Team) -> Sequence[Tensor]:
    """This process's share of each batch. All processes draw the same shuffle."""
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    order = torch.randperm(count, generator=generator)
    steps = max(1, count // settings.batch_size)
    chunks = torch.split(order, settings.batch_size)[:steps]
    return [chunk[team.rank :: team.size] for chunk in chunks]
