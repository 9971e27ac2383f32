"""Trains one classifier, for a teacher as for a student, and goes on where it was stopped."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from tvmkd.base.errors import InputError
from tvmkd.data.splits import Augment, Splits, batches
from tvmkd.distill.curriculum import Curriculum
from tvmkd.distill.distributed import Team
from tvmkd.distill.evaluate import evaluate
from tvmkd.distill.latency import LatencyTerm
from tvmkd.distill.losses import Batch, Loss
from tvmkd.distill.probe import logits_of
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


@dataclass(frozen=True, kw_only=True)
class Job(Training):
    """One training of a classifier.

    Attributes:
        loss: a module's own weights are trained beside the network's.
        latency: is added to the loss.
        curriculum: chooses each epoch's images; what it is made from goes into ``loss_id``, too.
    """

    loss: Loss
    latency: LatencyTerm | None = None
    curriculum: Curriculum | None = None


def fit(network: nn.Module, splits: Splits, job: Job, team: Team, report: Report) -> Checkpoint:
    """Trains ``network`` in place and returns its last checkpoint.

    AdamW, a short warm-up and a cosine to zero; batch normalisation and biases are not decayed.
    Mixed precision where there is a GPU. Every epoch draws from a seed of its own, so a training
    that was killed and started again ends where an undisturbed one would have ended.

    Raises:
        InputError: the loss is no longer a number (says in which batch; the last checkpoint is
            kept), or the checkpoint cannot be written.
    """
    settings, device = job.settings, team.device
    steps = _steps(splits, settings, team)
    identity = _identity(job, splits, team)
    to_device(network, device)
    model = team.wrap(network)
    own = job.loss.to(device) if isinstance(job.loss, nn.Module) else None
    own_weights = [] if own is None else list(own.parameters())
    weights = groups([*network.parameters(), *own_weights], settings.weight_decay)
    optimizer = torch.optim.AdamW(weights, lr=settings.lr)
    half = device.type == "cuda" and not torch.cuda.is_bf16_supported()
    scaler = torch.amp.GradScaler(device.type, enabled=half)
    parts: dict[str, Stateful] = {"optimizer": optimizer, "scaler": scaler}
    if own is not None:
        parts["loss"] = own
    keeper = Keeper(job, network, parts, team, report, {"training": identity})

    def score() -> float:
        return evaluate(network, splits.val, settings.batch_size, team)

    for epoch in range(keeper.state.epoch, settings.epochs):
        generator = seed_epoch(settings.seed, epoch, team)
        order = _order(splits, job, steps, epoch, team)
        model.train()
        found = torch.zeros(steps, device=device)
        change = None if splits.augment is None else partial(_change, splits.augment, generator)
        with closing(batches(splits.train, order, change)) as coming:
            for step, (images, labels) in enumerate(coming):
                images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
                labels = labels.to(device, non_blocking=True)
                rate = settings.lr * schedule(epoch * steps + step, settings.epochs * steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                with _precision(device, half):
                    logits = logits_of(model(images))
                    progress = (epoch * steps + step) / (settings.epochs * steps)
                    loss = job.loss(Batch(images, labels, order[step], progress), logits)
                    extra = job.latency.loss(network) if job.latency else None
                    loss = loss if extra is None else loss + extra
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(scaler.scale(loss))
                team.average_gradients(own_weights)
                scaler.step(optimizer)
                scaler.update()
                found[step] = loss.detach()
        mean = team.total([float(found.mean())])[0] / team.size
        if not math.isfinite(mean):
            # Looked at once an epoch: each look would wait for the GPU.
            bad = int((~torch.isfinite(found)).int().argmax())
            raise job.not_a_number("loss", float(found[bad]), epoch, bad, steps, order[bad])
        keeper.end_epoch(mean, score)
    return keeper.finish()


def _identity(job: Job, splits: Splits, team: Team) -> str:
    return fingerprint(
        model=job.model,
        loss=job.loss_id,
        settings=asdict(job.settings),
        data=splits.sha256,
        augment=repr(splits.augment),
        latency_weight=job.latency.weight if job.latency else 0.0,
        processes=team.size,
    )


def _change(augment: Augment, generator: torch.Generator, images: Tensor) -> Tensor:
    return augment(images, generator)


def _steps(splits: Splits, settings: Settings, team: Team) -> int:
    """Steps in an epoch. A last, smaller batch is left out, unless it is the only one: batch
    normalisation would take its few images too seriously.
    """
    count, size = len(splits.train.labels), settings.batch_size
    if min(size, count) < 2 * team.size:
        raise InputError(
            f"[data] batch_size {size} with {count} training images on {team.size} processes "
            "leaves less than 2 images to each"
        )
    return max(1, count // size)


def _order(splits: Splits, job: Job, steps: int, epoch: int, team: Team) -> list[Tensor]:
    """This process's share of each batch of an epoch. All processes draw the same shuffle."""
    settings = job.settings
    (number,) = np.random.SeedSequence([settings.seed, epoch]).generate_state(1)
    generator = torch.Generator().manual_seed(int(number))
    if job.curriculum is not None:
        order = job.curriculum.order(epoch / settings.epochs, generator)
    else:
        order = torch.randperm(len(splits.train.labels), generator=generator)
    chunks = torch.split(order, settings.batch_size)[:steps]
    return [chunk[team.rank :: team.size] for chunk in chunks]


def _precision(device: torch.device, half: bool) -> torch.autocast:
    dtype = torch.float16 if half else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=device.type == "cuda")
