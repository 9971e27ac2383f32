"""Trains one network, for a teacher as for a student, and goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tvmkd import console
from tvmkd.data.splits import Augment, Splits, batches
from tvmkd.distill import checkpoint as files
from tvmkd.distill.checkpoint import Checkpoint
from tvmkd.distill.evaluate import evaluate
from tvmkd.distill.latency import LatencyTerm
from tvmkd.distill.losses import Batch, Loss
from tvmkd.distill.pacing import Curriculum
from tvmkd.distill.probe import logits_of
from tvmkd.distill.team import Team
from tvmkd.errors import InputError

AfterCheckpoint = Callable[[Path, int, nn.Module], None]
"""Called with a checkpoint's path, the epochs done and the model; may raise to end the training."""
Report = Callable[[int, str], None]
"""Called with the epochs done and a short note for the person watching."""


@dataclass(frozen=True)
class Settings:
    """How to train: together with the model, the loss and the data this fixes the result."""

    epochs: int
    lr: float
    weight_decay: float
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        name: for messages: "teacher", "student (seed 1)".
        model: ``{"spec", "kwargs"}`` that the network was built from.
        loss: a module's own weights are trained beside the network's.
        loss_id: what the loss is, so that a checkpoint from another loss is not continued; what
            the curriculum is made from goes in here too.
        path: the checkpoint.
        checkpoint_seconds: a checkpoint is written at the end of an epoch if the last one is at
            least this old, and always after the last epoch. 0: every epoch.
    """

    name: str
    model: dict[str, Any]
    loss: Loss
    loss_id: dict[str, Any]
    settings: Settings
    path: Path
    latency: LatencyTerm | None = None
    curriculum: Curriculum | None = None
    checkpoint_seconds: float = 5.0
    after_checkpoint: AfterCheckpoint | None = None


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
    parts = groups([*network.parameters(), *own_weights], settings.weight_decay)
    optimizer = torch.optim.AdamW(parts, lr=settings.lr)
    half = device.type == "cuda" and not torch.cuda.is_bf16_supported()
    scaler = torch.amp.GradScaler(device.type, enabled=half)
    state = resume(job.name, job.path, identity)
    if state is None:
        state = Checkpoint(job.model, {}, rng={"seed": settings.seed}, meta={"training": identity})
    else:
        network.load_state_dict(state.state)
        assert state.optimizer is not None
        optimizer.load_state_dict(state.optimizer["optimizer"])
        scaler.load_state_dict(state.optimizer["scaler"])
        if own is not None:
            own.load_state_dict(state.optimizer["loss"])
    # Nobody writes before everybody has read.
    team.wait()
    report(state.epoch, _note(state))
    kept = began = time.monotonic()
    before = state.seconds
    for epoch in range(state.epoch, settings.epochs):
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
            kept_one = f"; {job.path} is of an earlier epoch" if job.path.exists() else ""
            raise InputError(
                f"{job.name}: the loss is {float(found[bad])} in batch {bad + 1} of {steps} of "
                f"epoch {epoch + 1} (training images {some(order[bad])}); lower its lr "
                f"({settings.lr:g}), or look for bad values in the data{kept_one}"
            )
        state.epoch = epoch + 1
        entry = {"epoch": float(state.epoch), "loss": mean}
        last = state.epoch == settings.epochs
        if last or state.epoch % max(1, settings.epochs // 5) == 0:
            entry["val_accuracy"] = evaluate(network, splits.val, settings.batch_size, team)
        state.history.append(entry)
        report(state.epoch, _note(state))
        if team.leader and (last or time.monotonic() - kept >= job.checkpoint_seconds):
            state.seconds = before + time.monotonic() - began
            state.state = network.state_dict()
            state.optimizer = {
                "optimizer": optimizer.state_dict(),
                "scaler": scaler.state_dict(),
                "loss": {} if own is None else own.state_dict(),
            }
            files.save(job.path, state)
            if job.after_checkpoint is not None:
                job.after_checkpoint(job.path, state.epoch, network)
            kept = time.monotonic()
    team.wait()
    state.state = network.state_dict()
    return state


def to_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Moves a network, its convolutions channels-last: what GPUs and CPUs train fastest."""
    return network.to(device).to(memory_format=torch.channels_last)


def _identity(job: Job, splits: Splits, team: Team) -> str:
    """Two trainings with the same identity end in the same weights."""
    facts = {
        "model": job.model,
        "loss": job.loss_id,
        "settings": asdict(job.settings),
        "data": splits.sha256,
        "augment": repr(splits.augment),
        "latency_weight": job.latency.weight if job.latency else 0.0,
        "processes": team.size,
    }
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def resume(name: str, path: Path, identity: str) -> Checkpoint | None:
    """The checkpoint to go on from, if there is one and it is of this very training."""
    if not path.exists():
        return None
    try:
        found = files.load(path)
    except InputError as error:
        console.warn(f"{name} starts again: {error}")
        return None
    if found.meta.get("training") != identity or found.optimizer is None:
        return None
    return found


def some(indices: Tensor, most: int = 6) -> str:
    """The first few of many images, for messages."""
    more = ", ..." if len(indices) > most else ""
    return ", ".join(str(int(index)) for index in indices[:most]) + more


def groups(parameters: Sequence[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """What an optimizer takes: matrices and kernels decay, normalisation and biases do not."""
    weights = [weight for weight in parameters if weight.requires_grad]
    return [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]


def seed_epoch(seed: int, epoch: int, team: Team) -> torch.Generator:
    """Seeds everything a model or a user's code may draw from; returns our own generator."""
    numbers = np.random.SeedSequence([seed, epoch, team.rank]).generate_state(3)
    torch.manual_seed(int(numbers[0]))
    random.seed(int(numbers[1]))
    np.random.seed(int(numbers[1]))  # noqa: NPY002 - a user's own layer may use it
    return torch.Generator().manual_seed(int(numbers[2]))


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


def schedule(step: int, steps: int) -> float:
    """The fraction of the learning rate: up over the first 5% of the steps, then a cosine down."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _precision(device: torch.device, half: bool) -> torch.autocast:
    dtype = torch.float16 if half else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=device.type == "cuda")


def _note(state: Checkpoint) -> str:
    if not state.history:
        return ""
    scores = [entry["val_accuracy"] for entry in state.history if "val_accuracy" in entry]
    score = f", validation {scores[-1]:.1%}" if scores else ""
    return f"loss {state.history[-1]['loss']:.3f}{score}"
