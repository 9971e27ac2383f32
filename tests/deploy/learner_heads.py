"""Small heads with features of clusters, for the tests of the learner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.deploy.board_learner.draws import Draws
from tvmkd.deploy.board_learner.head_file import Head, write_head
from tvmkd.deploy.board_learner.learner import Learner

FEATURES = 12
MODEL = bytes(range(32))


def centres(classes: int = 6) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 2, (classes, FEATURES)) + 3


MOVED = 0.7 * (centres()[1] - centres()[0])
"""Where the camera moves the features: the first class looks like the second."""


def clusters(labels: np.ndarray, seed: int, shift: np.ndarray | float = 0.0) -> np.ndarray:
    """Features float32 of examples with these labels."""
    noise = np.random.default_rng(seed).normal(0, 0.8, (len(labels), FEATURES))
    return np.asarray(centres()[labels] + noise + shift, np.float32)


def head(seed: int = 7, classes: int = 4, limit: int = 6, replay: int = 24) -> Head:
    """A head that tells the first clusters apart, with examples."""
    middle = centres()[:classes]
    weights = (0.2 * middle).astype(np.float32)
    bias = (-0.1 * (middle**2).sum(axis=1)).astype(np.float32)
    made = Head(weights, bias, limit, (replay, 40, 16), MODEL, seed)
    draws = Draws(seed)
    labels = np.arange(60) % classes
    for row, label in zip(clusters(labels, 2).astype(np.float16), labels, strict=True):
        made.replay.offer(row, int(label), draws)
    labels = np.arange(40) % classes
    for row, label in zip(clusters(labels, 3).astype(np.float16), labels, strict=True):
        made.guard.append(row, int(label))
    return made


def written(folder: Path, **more: int) -> str:
    path = str(folder / "head.bin")
    write_head(path, head(**more))
    return path


def many_classes(folder: Path) -> str:
    """A head of 60 classes that knows nothing, without examples."""
    path = str(folder / "many.bin")
    write_head(path, Head(np.zeros((60, FEATURES), np.float32), 0, 62, (0, 0, 9), MODEL, 7))
    return path


def lesson(kind: str, count: int = 60, seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Examples: ``new`` classes, the same classes that moved (``moved``), or ``poison``."""
    if kind == "new":
        labels = 4 + np.arange(count) % 2
        return clusters(labels, seed), labels
    labels = np.arange(count) % 4
    if kind == "moved":
        return clusters(labels, seed, shift=MOVED), labels
    return clusters(labels, seed), (labels + 1) % 4


def taught(learner: Any, kind: str, seed: int = 4) -> str:
    """The phase at the end of an update."""
    for row, label in zip(*lesson(kind, seed=seed), strict=True):
        learner.add(row, int(label))
    learner.begin()
    while learner.step(7) in ("training", "checking"):
        pass
    return str(learner.phase)


def accuracy(learner: Learner, rows: np.ndarray, labels: np.ndarray) -> float:
    return float((learner.predict(rows).argmax(axis=1) == labels).mean())
