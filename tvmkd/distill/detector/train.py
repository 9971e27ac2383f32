"""Trains one detector, for a teacher as for a student, and goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tvmkd.distill import checkpoint as files
from tvmkd.distill import trainer
from tvmkd.distill.checkpoint import Checkpoint
from tvmkd.distill.detector.answers import Teacher
from tvmkd.distill.detector.evaluate import evaluate
from tvmkd.distill.detector.losses import DetectorDistillation
from tvmkd.distill.detector.views import Views
from tvmkd.distill.team import Team
from tvmkd.distill.trainer import AfterCheckpoint, Report, Settings
from tvmkd.errors import InputError
from tvmkd.models.detectors import Dense

CLIP = 10.0  # largest norm of a gradient: a box far from its anchor sends enormous ones


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        name: for messages.
        model: ``{"spec", "kwargs"}`` that the network was built from.
        settings: lr, epochs and so on; ``seed`` also shuffles.
        train, val: what is trained on and looked at.
        variants: how many views of each image there are, one an epoch in turn; 0: a new one each
            epoch.
        classes: the class map.
        data: hash of the data.
        path: the checkpoint.
        distillation, teacher: both or neither.
        loss_id: what the loss is made from.
        checkpoint_seconds: least time between two checkpoints, but for the last.
    """

    name: str
    model: dict[str, Any]
    settings: Settings
    train: Views
    val: Views
    variants: int
    classes: tuple[str, ...]
    data: str
    path: Path
    distillation: DetectorDistillation | None = None
    teacher: Teacher | None = None
    loss_id: dict[str, Any] | None = None
    checkpoint_seconds: float = 5.0
    after_checkpoint: AfterCheckpoint | None = None


def fit(network: Dense, job: Job, team: Team, report: Report) -> Checkpoint:
    """Trains ``network`` in place and returns its last checkpoint.

    As for classifiers: AdamW, a warm-up and a cosine, a seed for each epoch. Every batch's loss and
    gradient are looked at before a weight moves. bfloat16 where there is a GPU.

    Raises:
        InputError: the loss is no longer a number (says in which batch; the last checkpoint is
            kept), an image cannot be read, or the checkpoint cannot be written.
    """
    settings, device = job.settings, team.device
    identity = _identity(job, team)
    trainer.to_device(network, device)
    own = job.distillation.to(device) if job.distillation is not None else None
    weights = [*network.parameters(), *([] if own is None else own.parameters())]
    groups = trainer.groups(weights, settings.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, fused=True)
    state = trainer.resume(job.name, job.path, identity)
    if state is None:
        # With what its outputs mean, so that it can be exported as it lies.
        about = network.describe(job.classes).to_metadata()
        meta = {"training": identity, **about, "input_shape": f"1,3,{network.size},{network.size}"}
        state = Checkpoint(job.model, {}, rng={"seed": settings.seed}, meta=meta)
    else:
        network.load_state_dict(state.state)
        assert state.optimizer is not None
        optimizer.load_state_dict(state.optimizer["optimizer"])
        if own is not None:
            own.load_state_dict(state.optimizer["loss"])
    # Nobody writes before everybody has read.
    team.wait()
    report(state.epoch, _note(state))
    kept = began = time.monotonic()
    before = state.seconds
    for epoch in range(state.epoch, settings.epochs):
        trainer.seed_epoch(settings.seed, epoch, team)
        order = _order(len(job.train), settings, epoch, team)
        view = epoch % job.variants if job.variants else settings.seed * settings.epochs + epoch
        network.train()
        total = 0.0
        for step, indices in enumerate(order):
            done = epoch * len(order) + step
            rate = settings.lr * trainer.schedule(done, settings.epochs * len(order))
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
                    kept_one = f"; {job.path} is of an earlier epoch" if job.path.exists() else ""
                    raise InputError(
                        f"{job.name}: the {name} is {number} in batch {step + 1} of {len(order)} "
                        f"of epoch {epoch + 1} (training images {trainer.some(indices)}); lower "
                        f"its lr ({settings.lr:g}), or look for bad values in the data{kept_one}"
                    )
            optimizer.step()
            total += value
        state.epoch = epoch + 1
        entry = {"epoch": float(state.epoch), "loss": total / len(order)}
        last = state.epoch == settings.epochs
        if last or state.epoch % max(1, settings.epochs // 5) == 0:
            entry["val_map"] = evaluate(network, job.val, job.classes, device).coco
        state.history.append(entry)
        report(state.epoch, _note(state))
        if team.leader and (last or time.monotonic() - kept >= job.checkpoint_seconds):
            state.seconds = before + time.monotonic() - began
            state.state = network.state_dict()
            state.optimizer = {
                "optimizer": optimizer.state_dict(),
                "loss": {} if own is None else own.state_dict(),
            }
            files.save(job.path, state)
            if job.after_checkpoint is not None:
                job.after_checkpoint(job.path, state.epoch, network)
            kept = time.monotonic()
    team.wait()
    state.state = network.state_dict()
    return state


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
    facts = {
        "model": job.model,
        "loss": job.loss_id,
        "settings": asdict(job.settings),
        "data": job.data,
        "views": [job.train.size, job.train.augment, job.train.seed, job.variants],
        "processes": team.size,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _order(count: int, settings: Settings, epoch: int, team: Team) -> Sequence[Tensor]:
    """This process's share of each batch. All processes draw the same shuffle."""
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    order = torch.randperm(count, generator=generator)
    steps = max(1, count // settings.batch_size)
    chunks = torch.split(order, settings.batch_size)[:steps]
    return [chunk[team.rank :: team.size] for chunk in chunks]


def _note(state: Checkpoint) -> str:
    if not state.history:
        return ""
    scores = [entry["val_map"] for entry in state.history if "val_map" in entry]
    score = f", validation mAP {scores[-1]:.3f}" if scores else ""
    return f"loss {state.history[-1]['loss']:.3f}{score}"
