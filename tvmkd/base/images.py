"""Reads image files; used by every room, so it imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tvmkd.base.errors import InputError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}

# Pillow's exceptions for files that are damaged, truncated, far too large or no images.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def read(path: Path) -> Image.Image:
    """Reads the whole image as RGB, rotated as its EXIF orientation says.

    Raises:
        InputError: the file is no image, or is damaged.
    """
    try:
        with Image.open(path) as opened:
            return ImageOps.exif_transpose(eight_bits(opened)).convert("RGB")
    except UNREADABLE as error:
        raise unreadable(path, error) from None


def listed(paths: Sequence[Path]) -> list[Path]:
    """``paths``, with each folder replaced by the images in it, sorted by name.

    Raises:
        InputError: a path does not exist, or a folder contains no image.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: there is no such image or folder")
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(
            item for item in path.iterdir() if item.suffix.lower() in SUFFIXES and item.is_file()
        )
        if not inside:
            raise InputError(f"{path}: no images; known are {', '.join(sorted(SUFFIXES))}")
        found += inside
    return found


def eight_bits(picture: Image.Image) -> Image.Image:
    """Converts 16-bit brightness to 8 bits; returns other images unchanged."""
    if not picture.mode.startswith("I"):
        return picture
    # Pillow's own conversion clips at 255; the high byte is the 8-bit brightness.
    values = np.asarray(picture).astype(np.int64)
    return Image.fromarray((values >> 8 if values.max() > 255 else values).astype(np.uint8))


def unreadable(path: Path, error: BaseException) -> InputError:
    """The InputError for one of the `UNREADABLE` exceptions."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if str(path) in text:  # Pillow names the file itself for some kinds
        text = "not an image, or damaged"
    return InputError(f"{path}: cannot be read as an image: {text}; replace or remove it")
