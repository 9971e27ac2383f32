"""Images a second against torch's own loader, and an epoch with the teacher's logits cached.

Images: a made-up folder of JPEG files of 500 x 375 pixels, more than fit into memory as far as
tvmkd is concerned, through ``ClassificationTask.batches`` and through torchvision's ``ImageFolder``
with torch's ``DataLoader``: both with the same two worker processes, sizes and batches, shuffled
and normalised, without augmentation. Both keep their workers between epochs. Each round reads the
whole folder by both, one after the other; the first round is discarded.

Teacher: students of scikit-learn's digits, photographed by the simulated camera, learn from a
teacher with ``[distill] views``, once with its logits cached and once from the teacher itself.
Timed are epochs in which every view has been seen; accuracies are means over the seeds.

    python benchmarks/bench_data.py --json bench_data.json
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import _common
import numpy as np
import torch
from PIL import Image

from tvmkd import config
from tvmkd.base.allocator import keep_freed_memory
from tvmkd.data import decoded
from tvmkd.distill.classification import ClassificationTask
from tvmkd.distill.distributed import ALONE
from tvmkd.distill.task import Distilled, Epoch
from tvmkd.distill.trainer import Trainer
from tvmkd.distill.training import Job, Settings

CLASSES, BATCH, WORKERS = 10, 64, 2
SOURCE = (500, 375)  # pixels: ImageNet's usual size


def folder(root: Path, count: int) -> Path:
    """Blurred noise as JPEG files, about as large as photographs of that size."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (75, 100, 3), dtype=np.uint8))
        path = root / f"class{number % CLASSES}" / f"{number:06}.jpg"
        path.parent.mkdir(exist_ok=True)
        coarse.resize(SOURCE, Image.Resampling.BICUBIC).save(path, quality=85)
    return root


def ours(root: Path, size: int) -> Callable[[int], int]:
    """An epoch of tvmkd's batches: from its number to the images that came."""
    decoded.CACHE_BYTES = 0  # as if they did not fit
    cfg = config.parse(
        {
            "project": {"name": "bench"},
            "data": {
                "dataset": "folder",
                "path": str(root),
                "image_size": size,
                "augment": "none",
                "workers": WORKERS,
            },
        }
    )
    task = ClassificationTask(cfg)

    def epoch(number: int) -> int:
        generator = torch.Generator().manual_seed(number)
        order = torch.randperm(task.count("train"), generator=generator)
        made = Epoch(torch.split(order, BATCH), 0, 1, generator)
        with closing(task.batches(made)) as coming:
            return sum(len(batch.images) for batch in coming)

    return epoch


def torchs(root: Path, size: int) -> Callable[[int], int]:
    """The same through ``ImageFolder`` and ``DataLoader``."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

    mean, std = decoded.NORMS[3]
    steps = [Resize(size), CenterCrop(size), ToTensor(), Normalize(mean, std)]
    loader = torch.utils.data.DataLoader(
        ImageFolder(str(root), Compose(steps)),
        batch_size=BATCH,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
    )
    return lambda number: sum(len(images) for images, _ in loader)


def rates(contenders: dict[str, Callable[[int], int]], rounds: int) -> dict[str, list[float]]:
    """Images a second, a number for each round; who starts alternates."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        names = list(contenders)
        for name in names if number % 2 else reversed(names):
            start = time.perf_counter()
            images = contenders[name](number)
            rate = images / (time.perf_counter() - start)
            print(f"round {number}: {name} {rate:.0f} images a second", flush=True)
            if number:
                found[name].append(rate)
    return found


def loading(images: int, rounds: int, size: int) -> _common.Result:
    """Images a second of both, as a ratio."""
    with tempfile.TemporaryDirectory() as place:
        root = folder(Path(place), images)
        found = rates({"tvmkd": ours(root, size), "torch": torchs(root, size)}, rounds)
    pairs = zip(found["tvmkd"], found["torch"], strict=True)
    result = _common.from_ratios(
        f"images a second at {size} pixels, tvmkd over torch's DataLoader",
        [mine / theirs for mine, theirs in pairs],
        1.0,
        "higher",
        f"{WORKERS} workers each on {len(os.sched_getaffinity(0))} cores",
    )
    result.details = {f"{name} images/s": statistics.median(rate) for name, rate in found.items()}
    return result


def settings(epochs: int, teacher_epochs: int, views: int) -> config.Config:
    """A run of the digits, photographed, with the default networks."""
    return config.parse(
        {
            "project": {"name": "bench"},
            "data": {"augment": "camera+affine"},
            "teacher": {"epochs": teacher_epochs},
            "distill": {"epochs": epochs, "lr": 4e-3, "views": views},
        }
    )


class Contender:
    """Trains students in one way, and times its epochs.

    Args:
        name: ``cached``: with the teacher's logits of numbered views. ``asked``: with the same
            views, but the teacher itself. ``new``: with new views each epoch, and the teacher.
    """

    def __init__(
        self, name: str, cfg: config.Config, teacher: torch.nn.Module, place: Path
    ) -> None:
        if name == "new":
            cfg = cfg.model_copy(update={"distill": cfg.distill.model_copy(update={"views": 0})})
        self._task, self._teacher, self._cached = ClassificationTask(cfg), teacher, name == "cached"
        self._cfg, self._place, self.name = cfg, place / name, name
        self._first = 2 * cfg.distill.views
        self.seconds: list[float] = []
        self.accuracies: list[float] = []

    def train(self, seed: int) -> None:
        """Trains one student."""
        task, cfg = self._task, self._cfg
        kwargs = task.arguments("depthwise", {})
        student = task.build("depthwise", kwargs, "student", seed)
        made = self._distilled(student)
        job = Job(
            name=f"student {seed}",
            model={"spec": "depthwise", "kwargs": kwargs},
            settings=Settings(cfg.distill.epochs, cfg.distill.lr, 5e-4, BATCH, seed),
            path=self._place / f"student-{seed}.pt",
            loss=made.loss,
            loss_id=made.identity,
            variants=task.variants,
            checkpoint_seconds=1e9,
        )
        ends: list[float] = []
        Trainer(task).fit(student, job, lambda done, note: ends.append(time.perf_counter()))
        epochs = cfg.distill.epochs
        self.seconds += [
            ends[done] - ends[done - 1]
            # Nearly every view was seen: an epoch leaves out a few images.
            for done in range(self._first + 1, epochs)
            if done % max(1, epochs // 5)  # the others are scored, too
        ]
        self.accuracies.append(task.score(student, "test"))

    def _distilled(self, student: torch.nn.Module) -> Distilled:
        found = self._task.distillation(student, self._teacher, self._place / "teacher", ALONE)
        if not self._cached:
            # The same views and the same loss, but the teacher itself.
            found.loss._answers = None  # type: ignore[attr-defined]
        return found


def caching(epochs: int, teacher_epochs: int, seeds: int, views: int) -> _common.Result:
    """Seconds of an epoch from the teacher over those from its cached logits."""
    cfg = settings(epochs, teacher_epochs, views)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        task = ClassificationTask(cfg).for_teacher()
        kwargs = task.arguments("residual", cfg.teacher.args)
        teacher = task.build("residual", kwargs, "teacher", 0)
        job = Job(
            name="teacher",
            model={"spec": "residual", "kwargs": kwargs},
            settings=Settings(teacher_epochs, 2e-3, 5e-4, BATCH, 0),
            path=place / "teacher.pt",
            loss=task.loss(teacher),
            loss_id={},
        )
        Trainer(task).fit(teacher, job)
        teacher.eval().requires_grad_(False)
        score = task.score(teacher, "test")
        all_ways = {way: Contender(way, cfg, teacher, place) for way in ("cached", "asked", "new")}
        for seed in range(seeds):
            for each in sorted(all_ways.values(), key=lambda way: way.name, reverse=seed % 2 == 1):
                each.train(seed)
            scores = [f"{way} {each.accuracies[-1]:.4f}" for way, each in all_ways.items()]
            print(f"seed {seed}: accuracy {', '.join(scores)}", flush=True)
    cached, asked, new = all_ways.values()
    result = _common.from_ratios(
        f"an epoch from the teacher over one from its cached logits, {views} views",
        [theirs / mine for mine, theirs in zip(cached.seconds, asked.seconds, strict=True)],
        2.0,
        "higher",
        f"accuracy {_spread(cached.accuracies)} cached, {_spread(asked.accuracies)} asked, "
        f"{_spread(new.accuracies)} with new views, teacher {score:.4f}",
    )
    result.details = {
        "accuracy cached": cached.accuracies,
        "accuracy asked": asked.accuracies,
        "accuracy with new views": new.accuracies,
        "accuracy of the teacher": score,
        "seconds of an epoch, cached": statistics.median(cached.seconds),
        "seconds of an epoch, asked": statistics.median(asked.seconds),
        "seconds of an epoch, new views": statistics.median(new.seconds),
    }
    return result


def _spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = _common.parser(__doc__ or "")
    parser.add_argument("--images", type=int, default=3000, help="JPEG files in the folder")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    parser.add_argument("--sizes", type=int, nargs="*", default=[224, 96], help="pixels a side")
    parser.add_argument("--epochs", type=int, default=60, help="of each student; 0: leave it out")
    parser.add_argument("--teacher-epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--views", type=int, default=4)
    return parser.parse_args()


def main() -> int:
    """Measures, prints and returns the exit code."""
    options = arguments()
    torch.set_num_threads(1)
    keep_freed_memory()  # as each training does
    results = [loading(options.images, options.rounds, size) for size in options.sizes]
    if options.epochs:
        results.append(
            caching(options.epochs, options.teacher_epochs, options.seeds, options.views)
        )
    facts: dict[str, Any] = {"images": options.images, "batch": BATCH, "workers": WORKERS}
    return _common.finish(results, options.json, settings=facts)


if __name__ == "__main__":
    sys.exit(main())
