"""Picture files, for everyone who reads them: what they are called, how they open. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tvmkd.base.errors import InputError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}

# What Pillow raises for files that are damaged, cut short, far too big or no image at all.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def read(path: Path) -> Image.Image:
    """The whole picture in RGB, turned upright as its EXIF says.

    Raises:
        InputError: the file is no image, or damaged; the line names it.
    """
    try:
        with Image.open(path) as opened:
            return ImageOps.exif_transpose(eight_bits(opened)).convert("RGB")
    except UNREADABLE as error:
        raise unreadable(path, error) from None


def listed(paths: Sequence[Path]) -> list[Path]:
    """``paths``, with each folder replaced by the images that lie in it, by name.

    Raises:
        InputError: there is no such file or folder, or a folder holds no image.
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
    """``picture`` with 16-bit brightness brought to 8 bits."""
    if not picture.mode.startswith("I"):
        return picture
    # Pillow cuts 16-bit brightness off at 255 when it converts; its high byte is what is meant.
    values = np.asarray(picture).astype(np.int64)
    return Image.fromarray((values >> 8 if values.max() > 255 else values).astype(np.uint8))


def unreadable(path: Path, error: BaseException) -> InputError:
    """What to raise where one of `UNREADABLE` was caught."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if str(path) in text:  # Pillow names the file itself for some kinds
        text = "not an image, or damaged"
    return InputError(f"{path}: cannot be read as an image: {text}; replace or remove it")
