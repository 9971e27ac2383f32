"""Reads image files; used by every room, so it imports no torch."""

from __future__ import annotations

import contextlib
import functools
import importlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, features

from tvmkd.base import walk
from tvmkd.base.errors import InputError

# Endings of pictures. Others that Pillow knows are no photographs (.h5, .eps, .mpg).
PICTURES = frozenset(
    f".{end}"
    for group in (
        "jpg jpeg jpe jfif mpo jp2 j2k jxl",
        "png apng gif webp bmp dib qoi tga tif tiff",
        "pbm pfm pgm pnm ppm",
        "avif heic heif hif",
    )
    for end in group.split()
)

# Pillow's exceptions for files that are damaged, truncated, far too large or no images.
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, RuntimeError),
    *(TypeError, AttributeError, LookupError, ArithmeticError, struct.error),
)

# Tags of TIFF.
_BITS, _FORMAT, _PHOTOMETRIC, _MIN, _MAX = 258, 339, 262, 340, 341
_ROUNDING = 1e-3  # by so much may a float leave its range

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(InputError):
    """An image file that is damaged, or no image.

    Attributes:
        path: the file.
        reason: in a few words.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: cannot be read as an image: {reason}; replace or remove it")
        self.path, self.reason = path, reason


@functools.lru_cache(maxsize=1)
def suffixes() -> frozenset[str]:
    """The endings of the pictures that this machine's Pillow can read, in lower case.

    HEIC needs the package pillow-heif, AVIF a Pillow that was built with it.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    found = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    if not features.check("avif"):
        found.discard(".avif")
    return frozenset(found & PICTURES)


def read(path: Path) -> Image.Image:
    """Reads the whole image as RGB, rotated as its EXIF orientation says.

    Raises:
        InputError: the file is no image, or is damaged.
    """
    try:
        with Image.open(path) as opened:
            return upright(opened).convert("RGB")
    except UNREADABLE as error:
        raise unreadable(path, error) from None


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole image, scaled with Pillow's ``BILINEAR``: rows first, then columns.

    Pillow 13 begins with the columns where that is faster, which rounds otherwise than older
    releases and than the C code of standalone libraries.

    Args:
        image: the image.
        size: width and height, pixels.
    """
    wide = image.resize((size[0], image.height), Image.Resampling.BILINEAR)
    return wide.resize(size, Image.Resampling.BILINEAR)


def listed(paths: Sequence[Path]) -> list[Path]:
    """``paths``, with each folder replaced by the images in it, sorted by name.

    Hidden files (``._a.jpg``) are left out.

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
        _, files = walk.entries(path, lambda reason, file: None)
        inside = [file for file in files if file.suffix.lower() in suffixes()]
        if not inside:
            raise InputError(f"{path}: no images; known are {known()}")
        found += inside
    return found


def known() -> str:
    """The endings that can be read, for messages."""
    return ", ".join(sorted(suffixes()))


def upright(picture: Image.Image) -> Image.Image:
    """`eight_bits`, turned as the EXIF orientation says.

    Pillow's ``exif_transpose`` writes all of EXIF again, and fails where one tag of it is unusual.
    """
    picture.load()  # a PNG may have its EXIF at the end
    turn = turn_of(picture)
    plain = eight_bits(picture)
    return plain if turn is None else plain.transpose(turn)


def turn_of(picture: Image.Image) -> Image.Transpose | None:
    """What its EXIF orientation asks for; None where there is none, or none that can be read."""
    try:
        return _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except UNREADABLE:
        return None


def eight_bits(picture: Image.Image) -> Image.Image:
    """Scales 16-bit, 32-bit and float brightness to 8 bits; returns other images unchanged.

    The scale depends on the file's type, never on the values of one image: 16-bit values divided
    by 257, floats from 0 to 1. For 32-bit values, TIFF's tags SMinSampleValue and SMaxSampleValue
    give the range.

    Raises:
        ValueError: the range is not known, or a value lies outside of it.
    """
    if picture.mode != "F" and not picture.mode.startswith("I"):
        return picture
    low, high = _range(picture)
    values = np.asarray(picture).astype(np.float64)
    scaled = (values - low) / (high - low)
    if not (scaled.min() >= -_ROUNDING and scaled.max() <= 1 + _ROUNDING):  # NaN fails, too
        raise ValueError(
            f"its values are {values.min():g} to {values.max():g}, but its type stands for "
            f"{low:g} to {high:g}: convert it to 8 or 16 bits"
        )
    if picture.mode.startswith("I;") and _tag(picture, _PHOTOMETRIC) == 0:
        scaled = 1 - scaled  # white is zero; Pillow turns only 8 bits round
    return Image.fromarray(np.rint(scaled * 255).clip(0, 255).astype(np.uint8))


def _range(picture: Image.Image) -> tuple[float, float]:
    """The values of black and white, by the type of the file."""
    least, most = _tag(picture, _MIN), _tag(picture, _MAX)
    given = least is not None and most is not None and most > least
    if picture.mode == "F":
        return (least, most) if given else (0.0, 1.0)
    bits = _tag(picture, _BITS)
    if picture.mode.startswith("I;16"):
        return 0.0, 2.0 ** (bits if bits and bits < 16 else 16) - 1
    if picture.format in ("PNG", "PPM"):  # Pillow scales both to 16 bits
        return 0.0, 65535.0
    if bits == 16:  # with a sign
        return 0.0, 32767.0
    if given:
        return least, most
    raise ValueError("32-bit integers have no known range: convert it to 8 or 16 bits")


def _tag(picture: Image.Image, number: int) -> Any:
    """The first value of a tag, None where the file is no TIFF or has no such tag."""
    value = getattr(picture, "tag_v2", {}).get(number)
    return value[0] if isinstance(value, tuple) and value else value


def unreadable(path: Path, error: BaseException) -> UnreadableImage:
    """The InputError for one of the `UNREADABLE` exceptions."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if str(path) in text:  # Pillow names the file itself for some kinds
        text = "not an image, or damaged"
    return UnreadableImage(path, text)


def together(errors: Sequence[UnreadableImage], most: int = 10) -> InputError:
    """One error for several images.

    Args:
        errors: at least one.
        most: so many are named.
    """
    if len(errors) == 1:
        return errors[0]
    named = ", ".join(f"{error.path} ({error.reason})" for error in errors[:most])
    more = f" and {len(errors) - most} more" if len(errors) > most else ""
    return InputError(
        f"{len(errors)} images cannot be read: {named}{more}; replace or remove them all"
    )
