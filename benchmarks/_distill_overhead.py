"""tvmkd's training loop against loops written by hand in plain PyTorch, for both tasks.

Both use the same networks, seeds, data, augmentation and steps, and alternate in one process.
tvmkd's loop also logs, checks every loss and gradient, and writes checkpoints. After each epoch it
validates; the classifier's loop does not, the detector's does, like torchvision's reference script:
a mean average precision takes as long as several steps.
"""

from __future__ import annotations

import copy
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import nn

from tvmkd import config, data
from tvmkd.data.splits import Splits
from tvmkd.distill import losses
from tvmkd.distill.classification import ClassificationTask
from tvmkd.distill.detection import DetectionTask
from tvmkd.distill.task import Batch
from tvmkd.distill.trainer import Trainer
from tvmkd.distill.training import Job, Settings
from tvmkd.models.depthwise import DepthwiseNet
from tvmkd.models.detectors import Dense, ssdlite
from tvmkd.models.residual import ResidualNet

ALPHA, TEMPERATURE = 0.1, 4.0
VIEWS = 2  # of each image for detectors, in turn


def classifier_by_hand(
    student: nn.Module, teacher: nn.Module, splits: Splits, settings: Settings
) -> float:
    """A plain PyTorch training loop for a classifier. Returns the accuracy."""
    generator = torch.Generator().manual_seed(settings.seed)
    student.to(memory_format=torch.channels_last)
    decay = [weight for weight in student.parameters() if weight.ndim > 1]
    rest = [weight for weight in student.parameters() if weight.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay}, {"params": rest, "weight_decay": 0.0}],
        lr=settings.lr,
        weight_decay=settings.weight_decay,
    )
    count, size = len(splits.train.labels), settings.batch_size
    steps = settings.epochs * (count // size)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    pictures, labels = splits.train.get(torch.arange(count)), splits.train.labels
    for _ in range(settings.epochs):
        student.train()
        order = torch.randperm(count, generator=generator)
        for start in range(0, count - size + 1, size):
            picks = order[start : start + size]
            images = pictures[picks]
            if splits.augment is not None:
                images = splits.augment(images, generator)
            images = images.contiguous(memory_format=torch.channels_last)
            with torch.no_grad():
                soft = teacher(images)
            logits = student(images)
            loss = ALPHA * F.cross_entropy(logits, labels[picks]) + (
                1 - ALPHA
            ) * TEMPERATURE**2 * F.kl_div(
                F.log_softmax(logits / TEMPERATURE, 1),
                F.softmax(soft / TEMPERATURE, 1),
                reduction="batchmean",
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    student.eval()
    with torch.no_grad():
        held = splits.val.get(torch.arange(len(splits.val.labels)))
        guesses = student(held.contiguous(memory_format=torch.channels_last)).argmax(1)
    return float((guesses == splits.val.labels).float().mean())


def classifier(student: nn.Module, teacher: nn.Module, splits: Splits, settings: Settings) -> None:
    """The same through tvmkd."""
    task = ClassificationTask(config.parse({"project": {"name": "bench"}}), splits=splits)
    kd = losses.KD(ALPHA, TEMPERATURE)

    def loss(batch: Batch, logits: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            soft = teacher(batch.images)
        return kd(logits, soft, batch.labels)

    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            name="student",
            model={"spec": "depthwise", "kwargs": {}},
            loss=loss,
            loss_id={"loss": "kd"},
            settings=settings,
            path=Path(folder) / "student.pt",
        )
        Trainer(task).fit(student, job)


def detector_by_hand(student: Dense, task: DetectionTask, settings: Settings) -> None:
    """A plain PyTorch training loop for a detector, validated after each epoch."""
    generator = torch.Generator().manual_seed(settings.seed)
    student.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        student.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    count, size = task.count("train"), settings.batch_size
    steps = settings.epochs * (count // size)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    for epoch in range(settings.epochs):
        student.train()
        order = torch.randperm(count, generator=generator).tolist()
        for start in range(0, count - size + 1, size):
            images, targets = task.train.batch(order[start : start + size], epoch % VIEWS)
            loss = student.loss(student.raw(images), targets)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 10.0)
            optimizer.step()
            scheduler.step()
        task.evaluate(student, "val")


def detector(student: Dense, task: DetectionTask, settings: Settings) -> None:
    """The same through tvmkd."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            name="student",
            model={"spec": "ssdlite", "kwargs": {}},
            loss=task.loss(student),
            loss_id={},
            settings=settings,
            path=Path(folder) / "student.pt",
            variants=VIEWS,
        )
        Trainer(task).fit(student, job)


def classifier_contest(epochs: int) -> dict[str, Callable[[], None]]:
    """Both loops as calls that train a new student: the demo's classifier."""
    splits = data.load(config.Data())
    settings = Settings(epochs, 4e-3, 5e-4, config.Data().batch_size, 0)
    torch.manual_seed(0)
    # Untrained: weights do not change its speed.
    teacher = ResidualNet().to(memory_format=torch.channels_last).eval().requires_grad_(False)
    fresh = DepthwiseNet()
    return {
        "tvmkd": lambda: classifier(copy.deepcopy(fresh), teacher, splits, settings),
        "by hand": lambda: classifier_by_hand(copy.deepcopy(fresh), teacher, splits, settings),
    }


def detector_contest(epochs: int) -> dict[str, Callable[[], None]]:
    """Both loops for an SSDLite on the embedded scenes; each call makes its own views."""
    section = {"dataset": "scenes", "image_size": 96, "scenes": [96, 8, 8]}
    cfg = config.parse(
        {"project": {"name": "bench"}, "data": section, "detection": {"variants": VIEWS}}
    )
    settings = Settings(epochs, 4e-3, 5e-4, 16, 0)
    torch.manual_seed(0)
    fresh = ssdlite(len(DetectionTask(cfg).classes), 96, finest=8, extras=0, width=0.5)
    return {
        "tvmkd": lambda: detector(copy.deepcopy(fresh), DetectionTask(cfg), settings),
        "by hand": lambda: detector_by_hand(copy.deepcopy(fresh), DetectionTask(cfg), settings),
    }


CONTESTS = {"classification": (classifier_contest, 40), "detection": (detector_contest, 12)}
"""For each task what competes, and for how many epochs."""


def training_overhead(
    task: str, rounds: int = 6, progress: Callable[[str], None] = lambda text: None
) -> list[float]:
    """Time of tvmkd's training divided by that of the hand-written loop, one ratio per round.

    On one thread: on a shared machine several threads stall each other for longer than the
    difference to measure. Each round times both loops, and alternates which of them starts; the
    first round is discarded.

    Args:
        task: of `CONTESTS`.
        rounds: rounds that count.
        progress: called with a line for each round.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    make, epochs = CONTESTS[task]
    contenders = make(epochs)
    ratios = []
    for number in range(rounds + 1):
        seconds: dict[str, float] = {}
        for name in sorted(contenders, reverse=number % 2 == 0):
            start = time.perf_counter()
            contenders[name]()
            seconds[name] = time.perf_counter() - start
        if number:
            ratios.append(seconds["tvmkd"] / seconds["by hand"])
            times = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
            progress(f"{task}, round {number}: {times}, ratio {ratios[-1]:.3f}")
    torch.set_num_threads(threads)
    return ratios
