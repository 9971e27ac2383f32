"""Tensors in JSON: lists of numbers, flat or nested."""

from __future__ import annotations

import math
from typing import Any

from tvmkd.deploy.serving.faults import invalid
from tvmkd.deploy.serving.tensors import WITHOUT_JSON, Tensor

_KINDS: dict[str, set[type]] = {"f": {int, float}, "i": {int}, "u": {int}, "b": {bool}}


def from_json(tensor: Tensor, shape: tuple[int, ...], data: Any) -> bytes:
    """A tensor's values in JSON, flat or nested, as bytes.

    Raises:
        RequestFault: another number or kind of values.
    """
    import numpy as np

    if tensor.datatype in WITHOUT_JSON:
        raise invalid(
            f"input {tensor.name!r}: {tensor.datatype} has no form in JSON; send it as binary data"
        )
    if not isinstance(data, list):
        raise invalid(f"input {tensor.name!r}: has neither data nor binary_data_size")
    try:
        # As objects: numpy would make room for the longest string in every element.
        array = np.array(data, dtype=object)
    except (ValueError, RecursionError):
        raise invalid(f"input {tensor.name!r}: data is not a regular array") from None
    values = array.ravel().tolist()
    dtype = np.dtype(tensor.dtype)
    kinds = _KINDS[dtype.kind]
    if not set(map(type, values)) <= kinds:
        raise invalid(f"input {tensor.name!r}: data has values that are no {tensor.datatype}")
    if array.size != math.prod(shape) or (array.ndim > 1 and array.shape != shape):
        raise invalid(f"input {tensor.name!r}: data does not have the shape {list(shape)}")
    try:
        if values and dtype.kind in "iu":
            limits = np.iinfo(dtype)
            if min(values) < limits.min or max(values) > limits.max:
                raise OverflowError
        with np.errstate(over="raise"):
            found = np.array(values, dtype)
        # JSON has no infinite numbers: such a value was too large even for Python.
        if dtype.kind == "f" and np.isinf(found).any():
            raise OverflowError
        return found.tobytes()
    except (OverflowError, FloatingPointError):
        text = f"input {tensor.name!r}: data has values outside of {tensor.datatype}"
        raise invalid(text) from None


def to_json(tensor: Tensor, data: bytes) -> list[Any]:
    """A tensor's values, flat."""
    import numpy as np

    values: list[Any] = np.frombuffer(data, tensor.dtype).tolist()
    return values
