"""What a teacher says of views that come again: memory-mapped half floats, filled on first use.

The idea is FKD's (Shen and Xing, ECCV 2022): a view of an image is drawn from its number alone, so
that the teacher need not see it twice.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from tvmkd.base.errors import InputError, full_disk

Ask = Callable[[NDArray[np.intp]], Sequence[Tensor]]
"""From places in a batch to what the teacher says of those images: a tensor for each part."""
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Part:
    """One array of answers.

    Attributes:
        shape: of the answer to one view.
        dtype: on disk.
    """

    shape: tuple[int, ...]
    dtype: str = "float16"

    @property
    def size(self) -> int:
        """Bytes of the answer to one view."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class AnswerCache:
    """Answers to views, a row for each, on disk.

    Several processes may fill one cache, once the first has made its files. A row counts as known
    after it was written, so that a process that is killed leaves nothing half known.

    Args:
        folder: where the folder of this cache is, or is made.
        identity: what the answers depend on beside the view; names the cache.
        rows: number of views of all images together.
        parts: the arrays.

    Raises:
        InputError: the folder cannot be written, or the disk has too little space.
    """

    def __init__(self, folder: Path, identity: str, rows: int, parts: Sequence[Part]) -> None:
        place = folder / f"answers-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        try:
            place.mkdir(parents=True, exist_ok=True)
            shapes = [(place / f"{n}.npy", (rows, *p.shape), p.dtype) for n, p in enumerate(parts)]
            found = [_existing(*each) for each in shapes]
            there = _existing(place / "there.npy", (rows,), "bool")
            _check_space(
                place,
                sum(
                    rows * part.size - (0 if array is None else _stored(path))
                    for part, array, (path, *_) in zip(parts, found, shapes, strict=True)
                ),
            )
            if there is None or any(array is None for array in found):
                # Before any part is made anew: its rows are no longer known.
                there = _new(place / "there.npy", (rows,), "bool")
            self._arrays = [
                _new(*each) if array is None else array
                for each, array in zip(shapes, found, strict=True)
            ]
            self._there = there
        except OSError as error:
            raise full_disk(error, place) or InputError(
                f"{place}: cannot be written: {error.strerror}"
            ) from None

    def recall(self, rows: NDArray[np.intp], ask: Ask) -> list[NDArray[Any]]:
        """The answers of some rows, an array for each part; the teacher is asked for the others.

        Args:
            rows: ``[n]``.
            ask: called with the places in ``rows`` of those that are not known, if there are any.
        """
        missing = np.flatnonzero(~self._there[rows])
        if len(missing):
            for array, part in zip(self._arrays, ask(missing), strict=True):
                values = part.detach().cpu().numpy()
                if array.dtype == np.float16:
                    values = values.clip(-_LARGEST, _LARGEST)  # infinite would not be finite again
                array[rows[missing]] = values.astype(array.dtype)
            # After what it stands for, so that a killed process leaves nothing half known.
            self._there[rows[missing]] = True
        return [array[rows] for array in self._arrays]


def _existing(path: Path, shape: tuple[int, ...], dtype: str) -> NDArray[Any] | None:
    """An array that is there, None where it is missing or damaged."""
    try:
        found = open_memmap(path, mode="r")  # "r+" lengthens a file that was cut short
    except (OSError, ValueError, EOFError):
        return None
    if found.shape != shape or found.dtype != np.dtype(dtype):
        return None
    return open_memmap(path, mode="r+")


def _stored(path: Path) -> int:
    """Bytes of a file that are on the disk: what was never written takes no room."""
    facts = path.stat()
    return min(facts.st_size, facts.st_blocks * 512)


def _new(path: Path, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """An array of zeros on disk."""
    path.unlink(missing_ok=True)  # another process may still look at the older one
    return open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _check_space(place: Path, needed: int) -> None:
    """Refuses what does not fit: a write through a memory map that fails ends the process."""
    free = shutil.disk_usage(place).free
    if needed > free:
        raise InputError(
            f"{place}: the teacher's answers need {needed / 1e9:.1f} GB, and the disk has "
            f"{free / 1e9:.1f} GB left: set fewer views (detectors: variants), or put [project] "
            "out on another disk"
        )
