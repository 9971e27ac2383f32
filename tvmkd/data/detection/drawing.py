"""Draws one scene: digits and clutter on a photograph, with sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tvmkd.data.detection.materials import Materials, crop

MOST = 6  # largest number of digits in a scene
UNIT = 16  # width of the 8 x 8 scan at scale 1, pixels
LARGEST = 4.0  # largest scale
CROWDED = 0.3  # probability that a digit may overlap others, and the fraction that it may cover
HIDDEN = 0.2  # a digit is difficult if another box covers more than this fraction
VISIBLE = 60.0  # ink is visible if a channel differs from the background by more levels
FAINT = 0.75  # a digit is difficult if a smaller fraction of its ink is visible
TRIES = 40
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class Scene:
    """A drawn scene.

    Args:
        pixels: uint8 ``[size, size, 3]``.
        boxes: int64 ``[n, 4]``: ``x1, y1, x2, y2`` around the ink, the last two exclusive.
        digits: int64 ``[n]``, 0 to 9.
        difficult: bool ``[n]``: partly hidden by another digit, or similar in colour to its
            background.
        indices: int64 ``[n]``, the scans' indices in scikit-learn's data set.
    """

    pixels: np.ndarray
    boxes: np.ndarray
    digits: np.ndarray
    difficult: np.ndarray
    indices: np.ndarray


def draw(stock: Materials, size: int, rng: np.random.Generator, least: int = 0) -> Scene:
    """Draws ``least`` to six digits; all randomness comes from ``rng``.

    Args:
        stock: the scans and photograph regions of the split.
        size: side of the scene, pixels.
        rng: source of the scene's randomness.
        least: smallest number of digits.
    """
    canvas = crop(stock.regions, size, rng)
    canvas = _clutter(canvas, stock, rng)
    boxes: list[tuple[int, int, int, int]] = []
    picks: list[int] = []
    faint: list[bool] = []
    for _ in range(int(rng.integers(least, MOST + 1))):
        pick = int(rng.integers(len(stock.scans)))
        ink = _ink(stock.scans[pick], size, rng)
        place = _place(ink.shape, boxes, size, rng)
        if place is None:
            continue
        left, top = place
        height, width = ink.shape
        visible = _print(canvas[top : top + height, left : left + width], ink, rng)
        boxes.append((left, top, left + width, top + height))
        picks.append(pick)
        faint.append(visible < FAINT)
    hidden = [_covered(box, boxes[place + 1 :]) > HIDDEN for place, box in enumerate(boxes)]
    return Scene(
        pixels=_sensor(canvas, rng),
        boxes=np.array(boxes, np.int64).reshape(-1, 4),
        digits=stock.digits[picks],
        difficult=np.array(faint, bool) | np.array(hidden, bool),
        indices=stock.indices[picks],
    )


def _clutter(canvas: np.ndarray, stock: Materials, rng: np.random.Generator) -> np.ndarray:
    """Adds patches and strokes, so that edges and lines also occur without digits."""
    size = len(canvas)
    for _ in range(int(rng.integers(0, 2))):
        side = int(rng.integers(size // 8, size // 3))
        top, left = rng.integers(0, size - side, 2)
        canvas[top : top + side, left : left + side] = crop(stock.regions, side, rng)
    picture = Image.fromarray(canvas.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(0, 3))):
        colour = tuple(int(level) for level in rng.integers(0, 256, 3))
        x, y = (int(value) for value in rng.integers(0, size, 2))
        across, down = (int(value) for value in rng.integers(-size // 3, size // 3, 2))
        thick = int(rng.integers(1, 4))
        if rng.random() < 0.5:
            pen.line((x, y, x + across, y + down), fill=colour, width=thick)
        else:
            start = float(rng.uniform(0, 360))
            around = (x, y, x + abs(across) + 4, y + abs(down) + 4)
            pen.arc(around, start, start + float(rng.uniform(30, 200)), fill=colour, width=thick)
    return np.array(picture, np.float32)


def _ink(scan: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """The scan, scaled and rotated: amount of ink, float32 0 to 1, without empty border."""
    side = UNIT * LARGEST ** rng.uniform(0, 1)  # log-uniform
    side = min(side, size / 2) * 10 / 8  # with a border for smoothing and rotation
    wide, high = round(side * rng.uniform(0.8, 1.2)), round(side)
    picture = Image.fromarray(np.pad(scan, 1)).resize((wide, high), Image.Resampling.BICUBIC)
    turned = picture.rotate(
        float(rng.uniform(-15, 15)), Image.Resampling.BILINEAR, expand=True, fillcolor=0
    )
    amount = np.asarray(turned, np.float32)
    amount = np.clip((amount / amount.max() - 0.2) / 0.5, 0, 1)
    rows = np.flatnonzero(amount.max(1) >= 0.5)
    columns = np.flatnonzero(amount.max(0) >= 0.5)
    return np.asarray(amount[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _place(
    shape: tuple[int, ...],
    boxes: list[tuple[int, int, int, int]],
    size: int,
    rng: np.random.Generator,
) -> tuple[int, int] | None:
    """A left upper corner where the digit covers no other one or, sometimes, a part of one."""
    height, width = shape
    allowed = CROWDED if rng.random() < CROWDED else 0.0
    for _ in range(TRIES):
        left, top = int(rng.integers(size - width + 1)), int(rng.integers(size - height + 1))
        mine = (left, top, left + width, top + height)
        if all(_covered(box, [mine]) <= allowed for box in boxes):
            return left, top
    return None


def _covered(box: tuple[int, int, int, int], others: list[tuple[int, int, int, int]]) -> float:
    """The largest fraction of a box that is covered by a single other box: 0 to 1."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    parts = [
        max(0, min(box[2], other[2]) - max(box[0], other[0]))
        * max(0, min(box[3], other[3]) - max(box[1], other[1]))
        for other in others
    ]
    return max(parts, default=0) / area


def _print(under: np.ndarray, ink: np.ndarray, rng: np.random.Generator) -> float:
    """Blends ink over ``under`` (float32 ``[h, w, 3]``, changed in place).

    Returns:
        The fraction of the ink that differs visibly from the background: 0 to 1.
    """
    ground = float((under @ LUMA).mean())
    contrast = float(rng.uniform(90, 200))
    sign = 1 if rng.random() < 0.5 else -1
    if not 0 <= ground + sign * contrast <= 255:
        sign = -sign
    tone = float(np.clip(ground + sign * contrast, 0, 255))
    tint = rng.normal(0, 30, 3).astype(np.float32)
    colour = np.clip(tone + tint - float(tint @ LUMA), 0, 255)
    amount = ink[:, :, None] * np.float32(rng.uniform(0.85, 1.0))
    visible = np.abs(colour - under).max(2)[ink >= 0.5] > VISIBLE
    under[:] = under * (1 - amount) + colour * amount
    return float(visible.mean())


def _sensor(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Applies slight defocus, then shot noise and read noise: uint8."""
    sharp = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    seen = np.asarray(
        sharp.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 0.6)))), np.float32
    )
    variance = rng.uniform(1, 5) ** 2 + rng.uniform(0, 0.2) * seen
    noisy = seen + rng.standard_normal(seen.shape, np.float32) * np.sqrt(variance)
    return np.asarray(np.clip(np.round(noisy), 0, 255), np.uint8)
