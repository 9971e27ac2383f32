"""What each recipe of distillation gains for small classifiers, on two embedded tasks.

``few labels``: 64 labelled digits for the student, 256 for its teacher, tested on clean digits.
``photographed``: 256 digits through a simulated camera for both, tested on photographs of severity
5. The teacher is trained once. The student alone has the same network, images, augmentation, views,
epochs and seeds, so that distilling gets no credit for the augmentation; differences are paired by
seed. The first recipe is that of tvmkd's defaults; then it with one thing changed; then other
losses.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from _paired import paired
from _trained import network

from tvmkd import config, data
from tvmkd.data import camera
from tvmkd.data.digits import MEAN, STD
from tvmkd.data.splits import Splits, TensorImages
from tvmkd.distill import distill
from tvmkd.distill.classification import ClassificationTask

SEVERITY = 5
BATCH = 32
VIEWS = 48  # augmented views of an image, whose teacher's logits are kept
STUDENT = {"stem": 8, "blocks": [[16, 2], [32, 2], [32, 1]]}
CAMERA = "camera+affine"
BAR = 0.5  # share of the gap that the default recipe closes
ALONE, DEFAULT = "alone", "default"


@dataclass(frozen=True)
class Question:
    """One task: what students are trained on, and which test split counts.

    Attributes:
        augment: of the students' images.
        images: labelled images of the students; None: all 256.
        epochs, lr: of the students.
        photographed: whether the corrupted test split counts.
    """

    augment: str
    images: int | None
    epochs: int
    lr: float
    photographed: bool


TASKS = {
    "few labels": Question("affine", 64, 1500, 4e-3, photographed=False),
    "photographed": Question(CAMERA, None, 800, 1.2e-2, photographed=True),
}
# name: [distill]
RECIPES: dict[str, dict[str, Any]] = {
    ALONE: {"loss": "ce"},
    DEFAULT: {},
    "default, no labels": {"alpha": 0.0},
    "default, standardised": {"standardize": True},
    "default, averaged weights": {"ema": 0.99},
    "default, hard mining": {"hard_mining": 2.0},
    "default, curriculum": {"curriculum": "root"},
    "default and dist": {"logits": [{"loss": "dist", "args": {"temperature": 4.0}}]},
    "mse": {"loss": "mse"},
    "dkd": {"loss": "dkd"},
    "nkd": {"loss": "nkd"},
    "dist": {"loss": "dist", "temperature": 4.0, "alpha": 0.1},
    "mlkd, standardised": {"loss": "mlkd", "standardize": True},
}


def _config(
    task: Question, recipe: dict[str, Any], seeds: Sequence[int], teacher: dict[str, Any]
) -> config.Config:
    return config.parse(
        {
            "project": {"name": "bench"},
            "data": {"batch_size": BATCH, "augment": task.augment},
            "teacher": {"model": "residual", "augment": CAMERA, **teacher},
            "student": {
                "model": "depthwise",
                "args": STUDENT,
                **({} if task.images is None else {"images": task.images}),
            },
            "distill": {
                "epochs": task.epochs,
                "lr": task.lr,
                "views": VIEWS,
                "seeds": list(seeds),
                "baseline": False,
                **recipe,
            },
        }
    )


def _corrupted(splits: Splits) -> TensorImages:
    """The corrupted test split. The seed is fixed, so every network sees the same images."""
    clean = splits.test.get(torch.arange(len(splits.test.labels))) * STD + MEAN
    pixels = camera.corrupt(clean.clamp(0, 1), SEVERITY, seed=0)
    return TensorImages(pixels, splits.test.labels, [MEAN], [STD])


def _score(path: Path, splits: Splits) -> float:
    """Test accuracy, 0 to 1, of a checkpoint."""
    cfg = config.parse({"project": {"name": "bench"}})
    return ClassificationTask(cfg, splits=splits).score(network(path), "test")


def measure(out: Path, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Trains every recipe with every seed; runs that are already in ``out`` are not repeated."""
    splits = data.load(config.Data(batch_size=BATCH))
    corrupted = replace(splits, test=_corrupted(splits))
    first = TASKS["photographed"]
    teacher = out / "teacher"
    distill(_config(first, {"loss": "kd", "epochs": 1}, [0], {"epochs": 100}), teacher)
    given = {"checkpoint": str(teacher / "teacher.pt")}
    results = []
    for name, task in TASKS.items():
        tested = corrupted if task.photographed else splits
        above = _score(teacher / "teacher.pt", tested)
        print(f"{name}: teacher {above:.1%}", flush=True)
        scores: dict[str, list[float]] = {}
        for recipe, keys in RECIPES.items():
            place = out / _plain(name) / _plain(recipe)
            runs = distill(_config(task, keys, seeds, given), place).runs
            scores[recipe] = [_score(run.checkpoint, tested) for run in runs]
            print(f"  {recipe:28} {_row(scores, recipe, above)}", flush=True)
        results += _results(name, above, scores)
    return results


def _row(scores: dict[str, list[float]], recipe: str, above: float) -> str:
    """The mean, and the share of the gap that is closed, both with an interval."""
    values = scores[recipe]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    text = f"{statistics.fmean(values):6.1%} ± {spread:.1%}"
    if recipe == ALONE:
        return text
    alone = scores[ALONE]
    closed = paired(values, alone).over(above - statistics.fmean(alone))
    return f"{text}  closes {closed.mean:4.0%} ± {closed.half:.0%}"


def _results(name: str, above: float, scores: dict[str, list[float]]) -> list[dict[str, Any]]:
    alone = scores[ALONE]
    gap = above - statistics.fmean(alone)
    gains = {recipe: paired(values, alone) for recipe, values in scores.items() if recipe != ALONE}
    gain = gains[DEFAULT]
    share = gain.over(gap)
    return [
        {
            "name": f"{name}: share of the gap to the teacher that the default recipe closes",
            "ratio": share.mean,
            "bar": BAR,
            "better": "higher",
            "ratios": [
                (mine - other) / gap for mine, other in zip(scores[DEFAULT], alone, strict=True)
            ],
            "note": f"± {share.half:.2f} (95 %, paired by seed); gap {gap * 100:.1f} points",
            "teacher": above,
            "students": {
                recipe: {
                    "accuracy": values,
                    "mean": statistics.fmean(values),
                    "gain": gains[recipe].mean if recipe in gains else None,
                    "interval": gains[recipe].half if recipe in gains else None,
                    "closed": gains[recipe].over(gap).mean if recipe in gains else None,
                    "over_default": paired(values, scores[DEFAULT]).mean,
                    "over_default_interval": paired(values, scores[DEFAULT]).half,
                }
                for recipe, values in scores.items()
            },
        },
        {
            "name": f"{name}: points of the default recipe over the student alone, at the least",
            "ratio": 100 * gain.high,
            "bar": 0.0,
            "better": "higher",
            "note": f"upper end of {100 * gain.mean:.2f} ± {100 * gain.half:.2f} points",
        },
    ]


def _plain(name: str) -> str:
    return re.sub(r"\W+", "-", name).lower()


if __name__ == "__main__":
    import sys

    print(json.dumps(measure(Path(sys.argv[1]), [int(text) for text in sys.argv[2:]]), indent=1))
