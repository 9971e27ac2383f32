"""The distillation loop of tvmkd against one written by hand in plain PyTorch.

Same networks from the same seeds, same data, same augmentation, same steps, same optimizer, in
one process, alternating. Ours also logs, validates five times and writes its checkpoints; the other
one does nothing but train and look at its accuracy once at the end.
"""

from __future__ import annotations

import copy
import math
import sys
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
from tvmkd.distill.task import Batch
from tvmkd.distill.trainer import Trainer
from tvmkd.distill.training import Job, Settings
from tvmkd.models.depthwise import DepthwiseNet
from tvmkd.models.residual import ResidualNet

ALPHA, TEMPERATURE = 0.1, 4.0


def by_hand(student: nn.Module, teacher: nn.Module, splits: Splits, settings: Settings) -> float:
    """What one would write without tvmkd. Returns the validation accuracy."""
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


def ours(student: nn.Module, teacher: nn.Module, splits: Splits, settings: Settings) -> float:
    """The same through tvmkd, checkpoints and all. Returns the validation accuracy."""
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
        state = Trainer(task).fit(student, job)
    return state.history[-1]["val_accuracy"]


def distill_overhead(
    rounds: int = 6, epochs: int = 40, progress: Callable[[str], None] = lambda text: None
) -> list[float]:
    """Time of tvmkd's distillation loop over that of the hand-written one, one ratio a round.

    The demo's teacher (untrained: its speed is the same), student, data and batch size, on one
    thread: several stall each other on a shared machine, by more than what is to be measured. Each
    round times both, and who goes first alternates; a first round is not counted.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    splits = data.load(config.Data())
    settings = Settings(epochs, 4e-3, 5e-4, config.Data().batch_size, 0)
    torch.manual_seed(0)
    teacher = ResidualNet().to(memory_format=torch.channels_last).eval().requires_grad_(False)
    fresh = DepthwiseNet()
    ratios = []
    for number in range(rounds + 1):
        seconds: dict[str, float] = {}
        contenders = [ours, by_hand]
        for contender in contenders if number % 2 else reversed(contenders):
            student = copy.deepcopy(fresh)
            start = time.perf_counter()
            contender(student, teacher, splits, settings)
            seconds[contender.__name__] = time.perf_counter() - start
        if number:
            ratios.append(seconds["ours"] / seconds["by_hand"])
            times = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
            progress(f"round {number}: {times}, ratio {ratios[-1]:.3f}")
    torch.set_num_threads(threads)
    return ratios


if __name__ == "__main__":
    found = sorted(distill_overhead(progress=lambda text: print(text, file=sys.stderr)))
    print(f"median ratio {found[len(found) // 2]:.3f} of {len(found)} rounds")
