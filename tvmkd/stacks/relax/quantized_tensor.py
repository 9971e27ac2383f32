"""Quantised tensors of a Relax graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

BYTES = {"int8": (-128, 127), "uint8": (0, 255)}


@dataclass(frozen=True)
class Low:
    """A dequantised tensor: ``(integers - zero) * scale``.

    Attributes:
        value: the integers, as an expression.
        dtype: theirs.
        scale, zero: of the tensor (of no dimension), or for each index of ``axis``.
        axis: that they belong to; None: one for all.
        array: the integers of a constant.
    """

    value: Any
    dtype: str
    scale: np.ndarray
    zero: np.ndarray
    axis: int | None = None
    array: np.ndarray | None = None

    def centred(self) -> np.ndarray:
        """The integers of a constant less their zero points."""
        assert self.array is not None
        return np.asarray(self.array.astype(np.int64) - self._spread(self.zero.astype(np.int64)))

    def floats(self) -> np.ndarray:
        """A constant, dequantised."""
        return np.asarray(self.centred().astype(np.float32) * self._spread(self.scale))

    def _spread(self, values: np.ndarray) -> np.ndarray:
        if self.axis is None or self.array is None:
            return values
        shape = [1] * self.array.ndim
        shape[self.axis] = -1
        return values.reshape(shape)

    def same(self, other: Low) -> bool:
        """Whether both are quantised alike, with one scale for all."""
        if self.axis is not None or other.axis is not None or self.dtype != other.dtype:
            return False
        return bool(self.scale == other.scale and self.zero == other.zero)
