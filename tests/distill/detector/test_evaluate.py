from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_detectors import scenes

from tvmkd.base.detector_description import Description
from tvmkd.data.detection.scenes import CLASSES, Recipe, load_scenes
from tvmkd.distill.detector.evaluate import measure
from tvmkd.distill.detector.views import Views


class Oracle(torch.nn.Module):
    """Answers each image with its own boxes, some of them spoiled."""

    def __init__(self, views: Views, miss: int = 0, shift: float = 0.0) -> None:
        super().__init__()
        self.views, self.miss, self.shift, self.seen = views, miss, shift, 0
        scale = views.size / np.array([a.size * 2 for a in views.images.annotations])
        self.boxes = [
            torch.from_numpy(a.boxes * s).float()
            for a, s in zip(views.images.annotations, scale, strict=True)
        ]
        self.labels = [torch.from_numpy(a.labels) for a in views.images.annotations]

    def describe(self, classes: Any) -> Description:
        anchors = torch.cat(self.boxes).numpy() + np.float32(self.shift)
        return Description(tuple(classes), self.views.size, "sigmoid", (1.0,) * 4, anchors)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        count = sum(map(len, self.boxes))
        logits = torch.full((len(images), count, len(CLASSES)), -9.0)
        starts = np.cumsum([0, *map(len, self.boxes)])
        for row in range(len(images)):
            labels = self.labels[self.seen + row]
            for place, label in enumerate(labels[self.miss :].tolist(), self.miss):
                logits[row, starts[self.seen + row] + place, label - 1] = 5.0
        self.seen += len(images)
        return logits, torch.zeros(len(images), count, 4)


def views(root: Path, size: int = 64) -> Views:
    return Views(load_scenes(scenes(root), Recipe(12, 4, 4, size=64)).test, size)


def score(oracle: Oracle, seen: Views) -> Any:
    return measure(oracle, seen, oracle.describe(CLASSES))


def test_what_finds_everything_scores_one_whatever_the_size_of_its_input(tmp_path: Path) -> None:
    for size in (64, 96):
        seen = views(tmp_path, size)
        assert score(Oracle(seen), seen).coco == pytest.approx(1, abs=0.01)


def test_what_misses_or_is_off_scores_less(tmp_path: Path) -> None:
    seen = views(tmp_path)
    missed = score(Oracle(seen, miss=1), seen)
    off = score(Oracle(seen, shift=2.0), seen)
    assert missed.coco < 0.9
    assert off.coco < 0.9
    assert off.voc > off.coco  # a box that is a little off is good enough at IoU 0.5


def test_samples_are_spread_over_the_split(tmp_path: Path) -> None:
    seen = views(tmp_path)
    found = seen.sample(2)
    assert found.shape == (2, 3, 64, 64)
    assert torch.equal(found[1], seen.batch([3])[0][0])
    assert len(seen.sample(99)) == 4
