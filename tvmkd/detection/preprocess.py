"""Converts a picture to a detector's input, and boxes back to the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tvmkd.base import images
from tvmkd.base.errors import InputError

Picture = str | Path | NDArray[np.uint8]
"""A file, or uint8 RGB ``[H, W, 3]``."""


def pixels(picture: Picture) -> NDArray[np.uint8]:
    """uint8 RGB ``[H, W, 3]``, upright.

    Raises:
        InputError: the file is no image, or damaged; or the array does not have this shape and
            dtype.
    """
    if isinstance(picture, (str, Path)):
        return np.asarray(images.read(Path(picture)))
    array: Any = picture
    shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
    if dtype != np.uint8 or shape is None or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise InputError(
            "a picture is a file or a uint8 array [height, width, 3] in RGB, got "
            + (type(array).__name__ if shape is None else f"{dtype} {list(shape)}")
        )
    return picture


def prepare(picture: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """The whole picture resized to ``size`` x ``size``; the aspect ratio is not kept.

    Args:
        picture: uint8 RGB ``[H, W, 3]``.
        size: pixels of a side.

    Returns:
        float32 ``[1, 3, size, size]``, 0 to 1.
    """
    image = Image.fromarray(picture)
    if image.size != (size, size):
        image = images.resized(image, (size, size))
    planes = np.asarray(image).transpose(2, 0, 1)
    result = np.empty((1, 3, size, size), np.float32)
    np.divide(planes, np.float32(255), out=result[0])
    return result


def restore(boxes: NDArray[np.float32], size: int, width: int, height: int) -> NDArray[np.float32]:
    """Converts boxes from pixels of the input to pixels of the picture.

    Args:
        boxes: ``[n, 4]``, ``x1, y1, x2, y2``.
        size: pixels of a side of the input.
        width, height: size of the picture, pixels.
    """
    return boxes * np.array([width, height, width, height], np.float32) / np.float32(size)
