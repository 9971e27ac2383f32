"""Makes the three splits of a detection set from annotated images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvmkd.base import console
from tvmkd.base.errors import InputError, UsageError
from tvmkd.base.images import together
from tvmkd.data.detection.annotations import Annotation
from tvmkd.data.detection.dataset import DetectionImages
from tvmkd.data.folder import HASH_BYTES
from tvmkd.data.pictures import MOST_DECODED, damaged

Parts = dict[str, list[Annotation]]
"""What a folder holds: ``all``, or ``train`` and perhaps ``val`` and ``test``."""


@dataclass(frozen=True)
class Division:
    """How to split a folder without given splits: fractions of its images, and a seed."""

    val_fraction: float = 0.15
    test_fraction: float = 0.2
    split_seed: int = 0

    def __post_init__(self) -> None:
        if min(self.val_fraction, self.test_fraction) <= 0:
            raise UsageError("val_fraction and test_fraction have to be more than 0")
        if self.val_fraction + self.test_fraction >= 1:
            raise UsageError("val_fraction and test_fraction leave nothing to train on")


@dataclass(frozen=True)
class DetectionSplits:
    """A detection set with fixed splits.

    The label ``k`` is the class ``classes[k - 1]``. ``sha256`` covers images, boxes, labels and
    the split.
    """

    train: DetectionImages
    val: DetectionImages
    test: DetectionImages
    classes: tuple[str, ...]
    sha256: str


def build(
    parts: Parts, classes: Sequence[str], root: Path, division: Division | None = None
) -> DetectionSplits:
    """Splits a folder's images, and checks that each split has objects.

    If only one of ``val`` and ``test`` exists, it becomes the test split, and a validation split is
    taken from ``train``. Boxes that were clipped to their image are reported in one warning.

    Raises:
        InputError: a split has no images, none of its images has an object, or images that cannot
            be read.
    """
    everything = [annotation for part in parts.values() for annotation in part]
    if everything and not any(annotation.objects for annotation in everything):
        raise InputError(
            f"{root}: none of its {len(everything)} images has an object; annotate some"
        )
    broken = damaged([annotation.image for annotation in everything[:MOST_DECODED]])
    if broken:
        raise together(broken)
    divided = _divide(parts, division or Division())
    for name, part in divided.items():
        if not part:
            raise InputError(
                f"{root}: no images for the {name} split; add images, or change val_fraction and "
                "test_fraction"
            )
        if not any(annotation.objects for annotation in part):
            raise InputError(
                f"{root}: none of the {len(part)} images of the {name} split has an object; "
                "annotate some, or add images that have"
            )
    clipped = [annotation for annotation in everything if annotation.clipped]
    if clipped:
        console.warn(
            f"{root}: {sum(annotation.clipped for annotation in clipped)} boxes stuck out of their "
            f"images and were cut at the border; the first is in {clipped[0].image}"
        )
    return DetectionSplits(
        train=DetectionImages(divided["train"], crowds=False),
        val=DetectionImages(divided["val"], crowds=True),
        test=DetectionImages(divided["test"], crowds=True),
        classes=tuple(classes),
        sha256=_digest(root, divided, classes),
    )


def _divide(parts: Parts, division: Division) -> Parts:
    rng = np.random.default_rng(division.split_seed)
    if "all" in parts:
        test, rest = _take(parts["all"], division.test_fraction, rng)
        val, train = _take(rest, division.val_fraction / (1 - division.test_fraction), rng)
        return {"train": train, "val": val, "test": test}
    train = parts["train"]
    if "val" in parts and "test" in parts:
        return {"train": train, "val": parts["val"], "test": parts["test"]}
    held = parts.get("test", parts.get("val"))
    if held is None:
        held, train = _take(train, division.test_fraction, rng)
    val, train = _take(train, division.val_fraction, rng)
    return {"train": train, "val": val, "test": held}


def _take(
    annotations: list[Annotation], fraction: float, rng: np.random.Generator
) -> tuple[list[Annotation], list[Annotation]]:
    """Takes ``fraction`` of the images with objects (at least one of two) and of those without."""
    full = np.array([annotation.objects > 0 for annotation in annotations], bool)
    taken: set[int] = set()
    for kind in (True, False):
        members = rng.permutation(np.flatnonzero(full == kind))
        count = round(len(members) * fraction)
        if kind and len(members) > 1:
            count = min(max(1, count), len(members) - 1)
        taken.update(int(index) for index in members[:count])
    return (
        [entry for index, entry in enumerate(annotations) if index in taken],
        [entry for index, entry in enumerate(annotations) if index not in taken],
    )


def _digest(root: Path, parts: Parts, classes: Sequence[str]) -> str:
    total = sum(entry.image.stat().st_size for part in parts.values() for entry in part)
    digest = hashlib.sha256(repr(tuple(classes)).encode())
    for name, part in parts.items():
        for entry in part:
            image = os.path.relpath(entry.image, root)  # may be elsewhere
            line = f"{name}\0{image}\0{entry.image.stat().st_size}\0{entry.size}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
            for values in (entry.boxes, entry.labels, entry.difficult, entry.crowd):
                digest.update(values.tobytes())
            if total <= HASH_BYTES:
                digest.update(hashlib.sha256(entry.image.read_bytes()).digest())
    return digest.hexdigest()
