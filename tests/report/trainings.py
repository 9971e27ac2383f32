"""Made-up histories of trainings, for the tests of their page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tvmkd.report import training_history as histories
from tvmkd.report.training_history import Epoch, Head, History


def head(name: str = "distilled student (seed 0)", epochs: int = 10, **changes: Any) -> Head:
    values: dict[str, Any] = {
        "name": name,
        "kind": name.partition(" (seed")[0],
        "training": f"hash of {name}",
        "epochs": epochs,
        "metric": "accuracy",
        "percent": True,
        "started": 1.0,
    }
    return Head(**{**values, **changes})


def epoch(number: int, total: int = 10, seed: int = 0, **changes: Any) -> Epoch:
    share = number / total
    wave = 0.1 * math.sin(number + seed)
    values: dict[str, Any] = {
        "epoch": number,
        "loss": 3 - 2 * share + wave,
        "parts": {"labels": 1 - share / 2, "logits": 2 - 1.5 * share + wave},
        "score": 0.5 + 0.4 * share + wave / 9 if number % max(1, total // 5) == 0 else None,
        "lr": 2e-3 * (1 - share),
        "gradient_norm": 1 + wave,
        "gradient_norm_max": 2 + wave,
        "images_per_second": 5000 + 900 * wave,
        "seconds": {"data": 0.1, "forward": 0.5, "step": 0.4, "evaluation": 0.05, "other": 0.01},
        "ended": float(number),
    }
    return Epoch(**{**values, **changes})


def training(
    folder: Path,
    place: str = "students/distilled-0",
    name: str = "distilled student (seed 0)",
    *,
    epochs: int = 10,
    done: int | None = None,
    seed: int = 0,
    **changes: Any,
) -> History:
    """Writes a history as a training of ``epochs`` does, of which some are done."""
    path = folder / f"{place}{histories.SUFFIX}"
    known = [epoch(number + 1, epochs, seed) for number in range(epochs if done is None else done)]
    return histories.continued(path, head(name, epochs, **changes), known)


def thirty(folder: Path, epochs: int = 60) -> None:
    """A teacher, ten students of two kinds, and eight steps of pruning and one in eight bits."""
    training(folder, "teacher", "teacher", epochs=epochs)
    for seed in range(10):
        for kind in ("distilled", "baseline"):
            name = f"{kind} student (seed {seed})"
            training(folder, f"students/{kind}-{seed}", name, epochs=epochs, seed=seed)
    for step in range(1, 9):
        kind = "pruned student"
        training(
            folder,
            f"prune/{step}",
            f"{kind}, step {step}",
            epochs=epochs // 3,
            seed=step,
            kind=kind,
        )
    training(folder, "quantize/qat", "student in eight bits", epochs=epochs // 3, done=epochs // 6)
