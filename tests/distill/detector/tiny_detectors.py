"""The smallest detectors, and the smallest run that still distils one."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tvmkd import config
from tvmkd.data.detection.scenes import Recipe, write_scenes
from tvmkd.distill.detector.losses import Answers
from tvmkd.distill.detector.terms import MapTerm, Seen
from tvmkd.models.detectors import Dense, Raw, retinanet, ssdlite

SCALES = [0.2, 0.4, 0.7, 0.9]
ARGS = {"finest": 8, "extras": 0, "scales": SCALES}


def tiny(seed: int = 0, size: int = 64, classes: int = 10, width: float = 0.25) -> Dense:
    """An SSDLite of a quarter of the width, in evaluation mode."""
    torch.manual_seed(seed)
    return ssdlite(classes, size, finest=8, extras=0, scales=SCALES, width=width).eval()


shared = functools.cache(tiny)
"""The same for tests that do not change it."""


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


def retina(seed: int = 0, size: int = 64, classes: int = 10) -> Dense:
    """A RetinaNet on ResNet-18 with 64 channels, in evaluation mode, without gradients."""
    torch.manual_seed(seed)
    made = retinanet(classes, size, backbone="resnet18", pyramid=64, smallest=12)
    return made.eval().requires_grad_(False)


shared_teacher = functools.cache(retina)
"""The same for tests that do not change it."""


def blank(count: int = 1, anchors: int = 1, columns: int = 3) -> Raw:
    """Outputs of zeros, without maps."""
    return Raw(torch.zeros(count, anchors, columns), torch.zeros(count, anchors, 4), [])


def sight(mine: torch.Tensor, wanted: torch.Tensor, boxes: Sequence[Any] = ()) -> Seen:
    """One map of a student ``[N, C, h, w]`` and of its teacher, the same boxes in each image."""
    raw = blank(len(mine))
    target: Any = {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)}
    answers = Answers(torch.zeros(len(mine), 1, 3), torch.zeros(len(mine), 1, 4), [])
    return Seen(Raw(raw.logits, raw.offsets, [mine]), answers, {0: wanted}, [target] * len(mine))


def one_map(term: MapTerm, channels: int) -> MapTerm:
    """A loss for the maps of `sight`, not for those of the networks that it was made with."""
    term.pairs, term.wanted = [((0, channels), (0, channels))], (0,)
    term.adapters = torch.nn.ModuleList([torch.nn.Identity()])
    return term
