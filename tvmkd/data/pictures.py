"""Decodes pictures, in files of their own or inside of others, to uint8 arrays."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from PIL import Image

from tvmkd.base.errors import InputError
from tvmkd.base.images import (
    UNREADABLE,
    UnreadableImage,
    eight_bits,
    resized,
    turn_of,
    unreadable,
    upright,
)

_TURN = Image.Transpose
_SIDEWAYS = {_TURN.TRANSPOSE, _TURN.TRANSVERSE, _TURN.ROTATE_90, _TURN.ROTATE_270}
MOST_DECODED = 20_000  # so many pictures are decoded to find all that are damaged


class Packed(Protocol):
    """A picture inside of another file, such as a tar."""

    @property
    def path(self) -> Path:
        """Names it in messages."""
        ...

    def read(self) -> bytes:
        """The picture's own bytes.

        Raises:
            OSError: they cannot be read.
        """
        ...


Picture = Path | Packed
P = TypeVar("P", bound=Picture)


def path_of(picture: Picture) -> Path:
    """What a picture is called in messages."""
    return picture if isinstance(picture, Path) else picture.path


def opened(picture: Picture) -> Image.Image:
    """Opens a picture without decoding it; a context manager.

    Raises:
        Exception: one of `UNREADABLE`.
    """
    return Image.open(picture if isinstance(picture, Path) else io.BytesIO(picture.read()))


@dataclass(frozen=True)
class Decoder:
    """Decodes a picture, scales its shorter side to ``size``, and crops the centre."""

    size: int
    channels: int

    def __call__(self, picture: Picture) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """uint8 ``[channels, size, size]``.

        Raises:
            InputError: the file is not an image, or damaged; the message names it.
        """
        try:
            with opened(picture) as file:
                # JPEG can decode directly to a smaller size if that is sufficient.
                file.draft(None, (self.size * 2, self.size * 2))
                turned = upright(file).convert("L" if self.channels == 1 else "RGB")
        except UNREADABLE as error:
            raise unreadable(path_of(picture), error) from None
        width, height = turned.size
        scale = self.size / min(width, height)
        sides = (max(self.size, round(width * scale)), max(self.size, round(height * scale)))
        fitted = resized(turned, sides)
        left, top = (fitted.width - self.size) // 2, (fitted.height - self.size) // 2
        pixels = np.asarray(fitted.crop((left, top, left + self.size, top + self.size)))
        return np.ascontiguousarray(pixels.reshape(self.size, self.size, -1).transpose(2, 0, 1))


def whole(path: Path, size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The whole picture in colour: uint8 ``[3, H, W]``.

    A picture is rotated according to its EXIF orientation. Exception: if only the unrotated picture
    has the expected size, it is not rotated, since the annotation then refers to the stored pixels.

    Args:
        path: the file.
        size: expected ``(width, height)``.

    Raises:
        InputError: the file is not an image, damaged, or of another size; the message names it.
    """
    try:
        with Image.open(path) as opened:
            picture = upright(opened)
            if picture.size != size == opened.size:
                picture = eight_bits(opened)
            pixels = np.array(picture.convert("RGB"))
    except UNREADABLE as error:
        raise unreadable(path, error) from None
    height, width = pixels.shape[:2]
    if (width, height) != size:
        raise InputError(
            f"{path}: is {width} x {height} pixels, but was annotated as {size[0]} x {size[1]}; "
            "annotate it again, or bring back the image that was annotated"
        )
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def upright_size(path: Path) -> tuple[int, int]:
    """``(width, height)`` of a picture after its EXIF rotation, without decoding it.

    Raises:
        InputError: the file is no image; the line names it.
    """
    try:
        with Image.open(path) as opened:
            width, height = opened.size
            return (height, width) if turn_of(opened) in _SIDEWAYS else (width, height)
    except UNREADABLE as error:
        raise unreadable(path, error) from None


def is_gray(picture: Picture) -> bool:
    """True if the file has a single channel (gray).

    Raises:
        InputError: the file is no image; the line names it.
    """
    try:
        with opened(picture) as file:
            return file.mode in {"1", "L", "LA", "F"} or file.mode.startswith("I")
    except UNREADABLE as error:
        raise unreadable(path_of(picture), error) from None


def header(picture: Picture) -> None:
    """Reads the header of a picture alone.

    Raises:
        UnreadableImage: the file is no image.
    """
    try:
        with opened(picture):
            pass
    except UNREADABLE as error:
        raise unreadable(path_of(picture), error) from None


def damaged(pictures: Sequence[P], read: Callable[[P], object] = header) -> list[UnreadableImage]:
    """All pictures that cannot be read, sorted, so that users can replace them at once.

    Args:
        pictures: in any order.
        read: reads one and raises `UnreadableImage`; what else it raises as InputError is ignored.
    """

    def failure(picture: P) -> UnreadableImage | None:
        try:
            read(picture)
        except UnreadableImage as error:
            return error
        except InputError:
            return None
        return None

    ordered = sorted(pictures, key=path_of)
    with ThreadPoolExecutor(thread_name_prefix="tvmkd-check") as pool:
        return [error for error in pool.map(failure, ordered) if error is not None]
