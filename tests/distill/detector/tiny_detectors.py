"""The smallest detectors, and the smallest run that still distils one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tvmkd import config
from tvmkd.data.detection.scenes import Recipe, write_scenes
from tvmkd.models.detectors import Dense, ssdlite

SCALES = [0.2, 0.4, 0.7, 0.9]
ARGS = {"finest": 8, "extras": 0, "scales": SCALES}


def tiny(seed: int = 0, size: int = 64, classes: int = 10, width: float = 0.25) -> Dense:
    """An SSDLite of a quarter of the width, in evaluation mode."""
    torch.manual_seed(seed)
    return ssdlite(classes, size, finest=8, extras=0, scales=SCALES, width=width).eval()


def scenes(root: Path) -> Path:
    """Twelve scenes of 64 pixels to train on, and four for each other split."""
    return write_scenes(root / "scenes", Recipe(12, 4, 4, size=64))


def small(root: Path, **changes: dict[str, Any]) -> config.Config:
    """A run on `scenes` with some keys of some sections changed."""
    args = {**ARGS, "width": 0.25}
    sections: dict[str, dict[str, Any]] = {
        "project": {"name": "small", "seed": 3, "out": str(root / "run")},
        "data": {
            "dataset": "scenes",
            "path": str(root / "scenes"),
            "scenes": [12, 4, 4],
            "image_size": 64,
            "batch_size": 4,
        },
        "teacher": {"model": "ssdlite", "args": args, "epochs": 2},
        "student": {"model": "ssdlite", "args": args},
        "distill": {"epochs": 2, "seeds": [0]},
        "detection": {"variants": 2},
    }
    names = {**sections, **changes}
    return config.parse(
        {name: {**sections.get(name, {}), **changes.get(name, {})} for name in names}
    )
