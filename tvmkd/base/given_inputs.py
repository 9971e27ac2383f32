"""Reads a model's inputs from an ``.npz`` file that the user gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.base.errors import InputError
from tvmkd.base.text import first_line, listing


def real_samples(
    path: Path | None, inputs: Sequence[Mapping[str, Any]], most: int = 8
) -> list[dict[str, np.ndarray]]:
    """Reads up to ``most`` samples of the model's batch size from an ``.npz`` of real inputs.

    Args:
        path: one array an input, its samples along the first axis; None: no samples.
        inputs: ``{"name", "shape", "dtype"}`` of each input, with fixed sizes.
        most: at most so many samples. A last incomplete batch is left out.

    Raises:
        InputError: the file cannot be read, or an array is missing, belongs to no input, or has
            another dtype or shape than its input.
    """
    if path is None:
        return []
    arrays = _read(path)
    names = [spec["name"] for spec in inputs]
    missing = [name for name in names if name not in arrays]
    unknown = [name for name in arrays if name not in names]
    if missing or unknown:
        what = f"no array {listing(missing)}" if missing else f"{listing(unknown)} is no input"
        raise InputError(f"{path}: {what}; the model's inputs are {listing(names)}")
    parts = [_batches(path, spec, arrays[spec["name"]], most) for spec in inputs]
    count = min((len(each) for each in parts), default=0)
    return [dict(zip(names, (each[at] for each in parts), strict=True)) for at in range(count)]


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give an .npz with one array an input")
    try:
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise InputError(f"{path}: holds one array; give an .npz, as numpy.savez writes it")
        with stored:
            return {name: stored[name] for name in stored.files}
    except InputError:
        raise
    except Exception as error:  # zip, zlib, numpy and the operating system have their own
        # numpy's advice is to allow pickles, which run code.
        reason = "" if "allow_pickle" in str(error) else f" ({first_line(error)})"
        raise InputError(
            f"{path}: not an .npz of plain arrays{reason}; write it with numpy.savez"
        ) from None


def _batches(path: Path, spec: Mapping[str, Any], array: np.ndarray, most: int) -> list[np.ndarray]:
    """The samples of one input."""
    name, shape, dtype = spec["name"], [int(size) for size in spec["shape"]], spec["dtype"]
    if array.dtype != np.dtype(dtype):
        raise InputError(
            f'{path}: "{name}" is {array.dtype}, the model takes {dtype}: convert it with '
            f'.astype("{dtype}")'
        )
    if not shape:
        array = array.reshape(1) if array.ndim == 0 else array
        fits, batch = array.ndim == 1, 1
    else:
        fits, batch = list(array.shape[1:]) == shape[1:] and array.ndim > 0, shape[0]
    if not fits or len(array) < batch:
        raise InputError(
            f'{path}: "{name}" has shape {list(array.shape)}, the model takes {shape} a sample, '
            "samples along the first axis"
        )
    count = min(most, len(array) // batch)
    return [array[at * batch : (at + 1) * batch].reshape(shape) for at in range(count)]
