"""Tiny detection sets in VOC and COCO layout, for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tvmkd.data.detection import Annotation
from tvmkd.data.detection.voc import VocObject, write_annotation

SIZE = (24, 16)  # width, height


def picture(path: Path, shade: int = 0, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, 255 - shade)).save(path)
    return path


def voc(root: Path, objects: dict[str, Sequence[VocObject]], **lists: Sequence[str]) -> Path:
    """An image and an annotation for each name; ``lists`` are those of ``ImageSets/Main``."""
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    for shade, (name, entries) in enumerate(objects.items()):
        picture(root / "JPEGImages" / f"{name}.png", shade)
        write_annotation(root / "Annotations" / f"{name}.xml", f"{name}.png", SIZE, entries, "toy")
    for name, stems in lists.items():
        path = root / "ImageSets" / "Main" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{stem}\n" for stem in stems))
    return root


def cats(count: int) -> dict[str, Sequence[VocObject]]:
    """``count`` images with one cat each."""
    return {f"img{index:02}": [VocObject("cat", (2, 3, 10, 12))] for index in range(count)}


def coco(
    root: Path,
    name: str = "train2017",
    objects: Sequence[Sequence[dict[str, Any]]] = (),
    first: int = 1,
    **changes: Any,
) -> Path:
    """An image for each entry of ``objects``, and their JSON, with ``changes`` to its keys."""
    images, annotations = [], []
    for number, entries in enumerate(objects, first):
        file = f"{number:012}.png"
        picture(root / name / file, number)
        images.append({"id": number, "file_name": file, "width": SIZE[0], "height": SIZE[1]})
        annotations += [{"image_id": number, **entry} for entry in entries]
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}],
    }
    path = root / "annotations" / f"instances_{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | changes))
    return path


def annotation(image: Path, number: int, objects: int = 1, *, crowds: int = 0) -> Annotation:
    """An image with ``objects`` boxes and as many crowds as asked for after them."""
    count = objects + crowds
    return Annotation(
        image=image,
        image_id=number,
        size=SIZE,
        boxes=np.tile(np.array([1, 2, 9, 8], np.float32), (count, 1)),
        labels=np.ones(count, np.int64),
        difficult=np.zeros(count, bool),
        crowd=np.arange(count) >= objects,
    )
