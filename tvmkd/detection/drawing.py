"""Draws boxes, class names and scores on a picture."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tvmkd.base.files import draft
from tvmkd.detection.decode import Detections

SMALL = 480  # pixels of the longer side; smaller pictures are enlarged to make text readable
GOLDEN = 0.618034  # step on the colour circle from class to class: all colours differ

Place = tuple[float, float, float, float]


def draw(picture: NDArray[np.uint8], found: Detections, classes: Sequence[str]) -> Image.Image:
    """Draws detections.

    Small pictures are enlarged by a whole factor; line width and font size grow with the picture.

    Args:
        picture: uint8 RGB ``[H, W, 3]``.
        found: detections, boxes in pixels of ``picture``.
        classes: the class map; label 1 is the first.
    """
    image = Image.fromarray(picture)
    factor = max(1, SMALL // max(image.size))
    sheet = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    side = math.sqrt(sheet.width * sheet.height)
    line, letters = max(2, round(side / 250)), max(13, round(side / 38))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(letters)
    order = np.argsort(found.scores, kind="stable")  # the best detections are drawn last, on top
    corners = (found.boxes * factor).tolist()
    for place in order:
        x1, y1, x2, y2 = corners[place]
        around = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1))
        # A dark outline keeps the line visible on a background of the same colour.
        pen.rectangle(around, outline="black", width=line + 2)
        pen.rectangle(around, outline=colour(int(found.labels[place])), width=line)
    texts = [
        f"{classes[label - 1]} {score:.2f}"
        for label, score in zip(found.labels.tolist(), found.scores.tolist(), strict=True)
    ]
    spots: dict[int, Place] = {}
    for place in order[::-1]:
        width = pen.textlength(texts[place], font=font) + letters / 2
        spots[place] = _free((width, letters * 1.3), corners[place], sheet.size, spots.values())
    for place in order:
        spot, fill = spots[place], colour(int(found.labels[place]))
        pen.rectangle(spot, fill=fill)
        light = np.array(fill) @ (0.299, 0.587, 0.114) > 140
        at = (spot[0] + letters / 4, (spot[1] + spot[3]) / 2)
        pen.text(at, texts[place], fill="black" if light else "white", font=font, anchor="lm")
    return sheet


def save(path: Path, image: Image.Image) -> None:
    """Writes a PNG file.

    Raises:
        InputError: it cannot be written.
    """
    with draft(path) as written:
        image.save(written, format="PNG")


def colour(label: int) -> tuple[int, int, int]:
    """A class's colour: red, green and blue, 0 to 255."""
    red, green, blue = colorsys.hsv_to_rgb(label * GOLDEN % 1, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _free(
    need: tuple[float, float], box: Sequence[float], room: tuple[int, int], taken: Iterable[Place]
) -> Place:
    """A position for a text of this size in or next to its box, without overlapping other texts."""
    wide, tall = need
    left = max(0.0, min(box[0], room[0] - wide))
    tries = [
        (left, top, left + wide, top + tall)
        for wish in (box[1] - tall, box[1], box[3], box[3] - tall)
        for top in [max(0.0, min(wish, room[1] - tall))]
    ]
    others = list(taken)
    return next((one for one in tries if not any(_touch(one, it) for it in others)), tries[0])


def _touch(one: Place, other: Place) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
