"""The embedded detection set (no download): scanned digits on photographs, in VOC layout."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tvmkd.base.errors import InputError, UsageError
from tvmkd.base.files import write_json
from tvmkd.base.folders import make_once
from tvmkd.data.detection import voc
from tvmkd.data.detection.drawing import Scene, draw
from tvmkd.data.detection.materials import SPLITS, Materials, Split, materials
from tvmkd.data.detection.splits import DetectionSplits

MARKER = "scenes.json"
VERSION = 2  # of the drawing code: increment it if scenes change
CLASSES = tuple("0123456789")
QUALITY = 95  # of the JPEG files
SMALLEST, GREATEST = 64, 4096


@dataclass(frozen=True)
class Recipe:
    """The parameters of a set of scenes: the same recipe gives the same files.

    Args:
        train: number of training scenes.
        val: number of validation scenes.
        test: number of test scenes.
        size: side of the scenes, pixels.
        seed: seed of all randomness.
    """

    train: int = 600
    val: int = 100
    test: int = 200
    size: int = 160
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.train, self.val, self.test) < 1:
            raise UsageError("a set of scenes has at least one in each of train, val and test")
        if not SMALLEST <= self.size <= GREATEST:
            raise UsageError(f"size has to be {SMALLEST} to {GREATEST} pixels, not {self.size}")
        if self.seed < 0:
            raise UsageError(f"seed has to be 0 or more, not {self.seed}")


def load_scenes(folder: Path, recipe: Recipe | None = None) -> DetectionSplits:
    """Loads the scenes of a recipe; draws them into ``folder`` first if they are missing.

    Raises:
        InputError: ``folder`` holds something else, or other scenes.
    """
    return voc.load_voc(write_scenes(folder, recipe), CLASSES)


def write_scenes(folder: Path, recipe: Recipe | None = None) -> Path:
    """Draws the scenes of a recipe and writes them in VOC layout, unless they exist already.

    Training, validation and test scenes have no scans and no pixels of photographs in common. A
    scene depends only on the seed, its split and its number: a larger set starts with the scenes of
    a smaller one.

    Args:
        folder: the output folder, created atomically.
        recipe: what to draw; by default 600, 100 and 200 scenes of 160 x 160.

    Returns:
        ``folder``.

    Raises:
        InputError: ``folder`` holds something else, or other scenes.
    """
    recipe = recipe or Recipe()
    if _there(folder, recipe):
        return folder
    make_once(folder, lambda made: _write(made, recipe))
    _there(folder, recipe)  # another process may have created it, with other scenes
    return folder


def draw_scene(recipe: Recipe, split: Split, number: int, stock: Materials) -> Scene:
    """Draws one scene of a set. The first of each split has a digit, so that no split is empty.

    Args:
        recipe: the recipe, for its size and seed.
        split: the scene's split.
        number: the scene's number in the split, from 0.
        stock: ``materials(split)``.
    """
    rng = np.random.default_rng([recipe.seed, SPLITS.index(split), number])
    return draw(stock, recipe.size, rng, least=1 if number == 0 else 0)


def _there(folder: Path, recipe: Recipe) -> bool:
    """True if ``folder`` contains the recipe's scenes."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(
            f"{folder}: is there already and is not a set of scenes; give another folder"
        ) from None
    if found != _marker(recipe):
        raise InputError(
            f"{folder}: holds scenes of another recipe ({MARKER}); give another folder or remove it"
        )
    return True


def _marker(recipe: Recipe) -> dict[str, Any]:
    return {"format": "tvmkd.scenes", "version": VERSION, **asdict(recipe)}


def _write(folder: Path, recipe: Recipe) -> None:
    for name in (voc.ANNOTATIONS, voc.IMAGES, voc.LISTS):
        (folder / name).mkdir(parents=True)
    for split in SPLITS:
        stock = materials(split)
        stems = [f"{split}_{number:05}" for number in range(getattr(recipe, split))]
        for number, stem in enumerate(stems):
            drawn = draw_scene(recipe, split, number, stock)
            image = f"{stem}.jpg"
            Image.fromarray(drawn.pixels).save(folder / voc.IMAGES / image, quality=QUALITY)
            objects = [
                voc.VocObject(CLASSES[digit], tuple(box), difficult)
                for digit, box, difficult in zip(
                    drawn.digits.tolist(),
                    drawn.boxes.tolist(),
                    drawn.difficult.tolist(),
                    strict=True,
                )
            ]
            size = (recipe.size, recipe.size)
            file = folder / voc.ANNOTATIONS / f"{stem}.xml"
            voc.write_annotation(file, image, size, objects, "tvmkd scenes")
        lines = "".join(f"{stem}\n" for stem in stems)
        (folder / voc.LISTS / f"{split}.txt").write_text(lines, encoding="utf-8")
    write_json(folder / MARKER, _marker(recipe))
