"""Draws the effects of a camera on some training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tvmkd.base.errors import InputError
from tvmkd.base.files import draft
from tvmkd.data.camera import Camera
from tvmkd.data.splits import Splits

COLUMNS = 8
CELL = (96, 256)  # approximate limits of the size of a drawn image, pixels
GAP, LINE, MARGIN = 4, 16, 150

# The label of an effect's row: the field of its range, and the unit.
_UNITS = {
    "skew": ("skew", "px"),
    "motion": ("motion", "px"),
    "defocus": ("defocus", "px"),
    "exposure": ("exposure", "stops"),
    "white_balance": ("white_balance", "of green"),
    "shot_noise": ("full_well", "e- at white"),
    "read_noise": ("read_noise", "e- rms"),
    "jpeg": ("jpeg", "of 100"),
}


def save(path: Path, splits: Splits, camera: Camera, seed: int = 0) -> tuple[int, int]:
    """Draws a grid of labelled images and writes it as a PNG file.

    The columns are images evenly spread over the training split, labelled with their classes. The
    rows are the original images, each effect of ``camera`` alone, and all effects together.

    Args:
        path: the output file.
        splits: the images; mean and standard deviation in ``preprocessing`` are used to undo the
            normalisation.
        camera: the effects and their ranges.
        seed: seed of all randomness.

    Returns:
        The number of rows and of columns.

    Raises:
        InputError: the file cannot be written, or an image cannot be read.
    """
    if path.is_dir():
        raise InputError(f"{path}: cannot be written: it is a folder; give the PNG file")
    images, names = _examples(splits)
    rows = [(["original"], images)]
    rows += [
        (_label(camera, effect, splits.channels), _shot(camera, (effect,), images, seed))
        for effect in camera.effects
    ]
    rows.append((["all together"], _shot(camera, camera.effects, images, seed)))
    picture = draw(rows, names)
    with draft(path) as written:
        picture.save(written, format="PNG")
    return len(rows), len(names)


def draw(rows: Sequence[tuple[list[str], Tensor]], names: Sequence[str]) -> Image.Image:
    """Draws a grid.

    Args:
        rows: for each row its label's lines and its images, values of 0 to 1, ``[n, 1 or 3, H,
            W]``. Small images are enlarged by a whole factor, large ones reduced.
        names: the label above each column.
    """
    height, width = rows[0][1].shape[2:]
    longer = max(height, width)
    factor = max(1, CELL[0] // longer) if longer <= CELL[1] else CELL[1] / longer
    cell = (max(1, round(width * factor)), max(1, round(height * factor)))
    kind = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX
    step = (cell[0] + GAP, max(cell[1], 2 * LINE) + GAP)
    size = (MARGIN + len(names) * step[0], LINE + GAP + len(rows) * step[1])
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, name in enumerate(names):
        room = name
        while len(room) > 1 and pen.textlength(room, font=font) > cell[0]:
            room = room[:-1]
        pen.text((MARGIN + column * step[0], 2), room, fill="black", font=font)
    for row, (label, images) in enumerate(rows):
        top = LINE + GAP + row * step[1]
        pen.multiline_text((GAP, top), "\n".join(label), fill="black", font=font)
        pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8)
        for column, image in enumerate(pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)):
            tile = Image.fromarray(image.contiguous().numpy()).resize(cell, kind)
            sheet.paste(tile, (MARGIN + column * step[0], top))
    return sheet


def _examples(splits: Splits) -> tuple[Tensor, list[str]]:
    """Training images, not normalised, and the names of their classes."""
    labels = splits.train.labels
    picks = torch.linspace(0, len(labels) - 1, min(COLUMNS, len(labels))).round().long()
    mean, std = (
        torch.tensor(splits.preprocessing[key]).view(1, -1, 1, 1) for key in ("mean", "std")
    )
    names = [splits.classes[label] for label in labels[picks].tolist()]
    return splits.train.get(picks) * std + mean, names


def _shot(camera: Camera, effects: tuple[str, ...], images: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return replace(camera, effects=effects)(images, generator)


def _label(camera: Camera, effect: str, channels: int) -> list[str]:
    field, unit = _UNITS[effect]
    low, high = (f"{round(value, 2):.7g}" for value in getattr(camera, field))
    text = low if low == high else f"{low} to {high}"
    if effect == "white_balance" and channels == 1:
        return [effect.replace("_", " "), "nothing for gray"]
    return [effect.replace("_", " "), f"{text} {unit}"]
