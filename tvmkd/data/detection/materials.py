"""The materials of scenes: scanned digits and photograph regions, separate for each split.

Both come with scikit-learn: 1,797 scans of 8 x 8 pixels (Alpaydin and Kaynak, Optical Recognition
of Handwritten Digits, UCI, 1998), and two photographs of 640 x 427, china.jpg and flower.jpg.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from tvmkd.data.digits import split_indices

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
PHOTOGRAPHS = ("china.jpg", "flower.jpg")
# Left, top, right and bottom as fractions of a photograph. Test scenes use one half; training and
# validation use parts of the other half that do not overlap.
REGIONS: dict[Split, tuple[float, float, float, float]] = {
    "train": (0.0, 0.0, 0.5, 0.62),
    "val": (0.0, 0.62, 0.5, 1.0),
    "test": (0.5, 0.0, 1.0, 1.0),
}


@dataclass(frozen=True)
class Materials:
    """The materials of one split.

    Args:
        scans: uint8 ``[n, 8, 8]``, 0 is paper and 255 is ink.
        digits: int64 ``[n]``, 0 to 9.
        indices: int64 ``[n]``, the scans' indices in scikit-learn's data set.
        regions: one region of each photograph, uint8 ``[H, W, 3]``.
    """

    scans: np.ndarray
    digits: np.ndarray
    indices: np.ndarray
    regions: tuple[np.ndarray, ...]


def photograph(name: str) -> np.ndarray:
    """One of scikit-learn's photographs: uint8 ``[427, 640, 3]``."""
    from sklearn.datasets import load_sample_image

    return np.asarray(load_sample_image(name))


def materials(split: Split, read: Callable[[str], np.ndarray] = photograph) -> Materials:
    """A split's digits, the same as in ``tvmkd.data.digits``, and its region of each photograph.

    Args:
        split: name of the split.
        read: returns the photograph of a name, uint8 ``[H, W, 3]``.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    labels = np.ascontiguousarray(raw.target, dtype=np.int64)
    picks = np.sort(split_indices(labels)[SPLITS.index(split)])
    scans = np.round(raw.images[picks] * (255 / 16)).astype(np.uint8)
    left, top, right, bottom = REGIONS[split]
    regions = []
    for name in PHOTOGRAPHS:
        picture = read(name)
        height, width = picture.shape[:2]
        rows = slice(int(top * height), int(bottom * height))
        regions.append(picture[rows, int(left * width) : int(right * width)])
    return Materials(scans, labels[picks], picks, tuple(regions))


def crop(regions: tuple[np.ndarray, ...], side: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of one region, scaled, perhaps mirrored, with changed colours.

    Returns:
        float32 ``[side, side, 3]``, 0 to 255.
    """
    region = regions[rng.integers(len(regions))]
    height, width = region.shape[:2]
    shorter = min(height, width)
    extent = int(rng.integers(shorter // 2, shorter + 1))
    top, left = rng.integers(height - extent + 1), rng.integers(width - extent + 1)
    window = Image.fromarray(region[top : top + extent, left : left + extent])
    pixels = np.asarray(window.resize((side, side), Image.Resampling.BILINEAR), np.float32)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    return recolour(pixels, rng)


def recolour(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Changes hue, contrast and white balance: float32 ``[H, W, 3]``, 0 to 255."""
    gray = pixels.mean(2, keepdims=True)
    changed = gray + (pixels[:, :, rng.permutation(3)] - gray) * rng.uniform(0.3, 1.2)
    changed = (changed - 128) * rng.uniform(0.3, 0.8) + 128 + rng.uniform(-40, 40)
    changed = np.clip(changed * rng.uniform(0.85, 1.15, 3), 0, 255)
    return np.asarray(changed, np.float32)
