"""Crops the objects of a detection set, as images for a classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tvmkd.base.errors import InputError, UsageError, unwritable
from tvmkd.base.folders import draft_folder
from tvmkd.data.detection.annotations import Annotation
from tvmkd.data.detection.splits import DetectionSplits
from tvmkd.data.pictures import whole

NONE = "none"  # class of the crops without object
MARGIN = 0.25  # around a box, as a fraction of its longer side
HIDDEN = 0.3  # largest fraction of an object's box inside a crop without object


def write_crops(splits: DetectionSplits, folder: Path, size: int, seed: int = 0) -> int:
    """Writes the objects as square images, one folder per class, and crops of background.

    Crowds are regions, not objects, and are left out.

    A backbone that is pretrained on these crops needs fewer images to learn detection, as with
    ImageNet weights.

    Args:
        splits: the detection set; its splits become ``train``, ``val`` and ``test``.
        folder: the output folder, created atomically.
        size: side of the crops, pixels.
        seed: seed of the crops of background.

    Returns:
        the number of images.

    Raises:
        InputError: the folder exists already or cannot be written, an image cannot be read, or a
            class name is not a valid folder name.
        UsageError: the size is out of range.
    """
    if not 8 <= size <= 1024:
        raise UsageError(f"size has to be 8 to 1024 pixels, not {size}")
    for name in splits.classes:
        if name == NONE or name.startswith(".") or "/" in name or "\0" in name:
            raise InputError(
                f'the class "{name}" cannot be the name of a folder here (none is what has no '
                "object); rename it"
            )
    if folder.exists():
        raise InputError(f"{folder}: is there already; give another folder")
    rng = np.random.default_rng(seed)
    count = 0
    try:
        with draft_folder(folder) as made:
            for name in ("train", "val", "test"):
                for annotation in getattr(splits, name).annotations:
                    count += _crop(annotation, splits.classes, made / name, size, rng)
    except OSError as error:
        raise unwritable(error, folder) from None
    return count


def _crop(
    annotation: Annotation,
    classes: tuple[str, ...],
    folder: Path,
    size: int,
    rng: np.random.Generator,
) -> int:
    picture = Image.fromarray(whole(annotation.image, annotation.size).transpose(1, 2, 0))
    places: list[tuple[str, tuple[float, float, float]]] = []
    single = ~annotation.crowd
    for box, label in zip(annotation.boxes[single], annotation.labels[single], strict=True):
        side = float((box[2:] - box[:2]).max()) * (1 + 2 * MARGIN)
        middle = (box[:2] + box[2:]) / 2
        places.append((classes[label - 1], (float(middle[0]), float(middle[1]), side)))
    nothing = _nothing(annotation, rng)
    if nothing is not None:
        places.append((NONE, nothing))
    for number, (name, (x, y, side)) in enumerate(places):
        path = folder / name / f"{annotation.image.stem}-{annotation.image_id}-{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        left, top = round(x - side / 2), round(y - side / 2)
        cut = picture.crop((left, top, left + round(side), top + round(side)))
        cut.resize((size, size), Image.Resampling.BILINEAR).save(path)
    return len(places)


def _nothing(annotation: Annotation, rng: np.random.Generator) -> tuple[float, float, float] | None:
    """A random square that covers little of any object (centre x, y and side), or None."""
    width, height = annotation.size
    side = float(min(width, height) * rng.uniform(0.2, 0.6))
    x = float(rng.uniform(side / 2, width - side / 2))
    y = float(rng.uniform(side / 2, height - side / 2))
    low = np.maximum(annotation.boxes[:, :2], [x - side / 2, y - side / 2])
    high = np.minimum(annotation.boxes[:, 2:], [x + side / 2, y + side / 2])
    shared = np.clip(high - low, 0, None).prod(1)
    areas = (annotation.boxes[:, 2:] - annotation.boxes[:, :2]).prod(1)
    return None if len(areas) and (shared > HIDDEN * areas).any() else (x, y, side)
