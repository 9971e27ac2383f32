"""Tensors as views of a flat array: slices, transpositions and reshapes that move no data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Strided:
    """Where in a flat array each element of a tensor is.

    Attributes:
        shape: of the tensor.
        strides: by how many elements of the array a step along each axis moves.
        offset: of the first element.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Strided:
        """A tensor that is the array itself."""
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        return cls(tuple(shape), tuple(strides))

    @property
    def is_whole(self) -> bool:
        """Whether the elements lie in the array in the tensor's own order, without gaps."""
        wanted = Strided.whole(self.shape).strides
        pairs = zip(self.shape, self.strides, wanted, strict=True)
        return not self.offset and all(size == 1 or one == two for size, one, two in pairs)

    def at(self, place: Sequence[Any]) -> Any:
        """The number of an element in the array; of expressions an expression."""
        terms = [
            index * stride for index, stride in zip(place, self.strides, strict=True) if stride
        ]
        total: Any = self.offset
        for term in terms:
            total = total + term
        return total

    def transposed(self, axes: Sequence[int]) -> Strided:
        """The axes in another order."""
        shape, strides = zip(
            *[(self.shape[axis], self.strides[axis]) for axis in axes], strict=True
        )
        return replace(self, shape=shape, strides=strides)

    def swapped(self) -> Strided:
        """The last two axes the other way round."""
        rank = len(self.shape)
        return self.transposed([*range(rank - 2), rank - 1, rank - 2])

    def cut(self, axis: int, begin: int, end: int, step: int = 1) -> Strided:
        """A slice of one axis: ``[begin:end:step]``, with Python's rules for negative numbers."""
        places = range(self.shape[axis])[begin:end:step]
        shape, strides = list(self.shape), list(self.strides)
        shape[axis], strides[axis] = len(places), strides[axis] * places.step
        return Strided(
            tuple(shape), tuple(strides), self.offset + places.start * self.strides[axis]
        )

    def picked(self, axis: int, index: int) -> Strided:
        """One element of an axis, which is left out then."""
        one = self.cut(axis, index, index + 1 or self.shape[axis])
        keep = [other for other in range(len(self.shape)) if other != axis % len(self.shape)]
        return Strided(
            tuple(one.shape[i] for i in keep), tuple(one.strides[i] for i in keep), one.offset
        )

    def broadcast(self, shape: Sequence[int]) -> Strided:
        """Repeated along the axes that are missing or of size 1."""
        more = len(shape) - len(self.shape)
        strides = [0] * more
        for have, stride, want in zip(self.shape, self.strides, shape[more:], strict=True):
            strides.append(stride if have == want else 0)
        return replace(self, shape=tuple(shape), strides=tuple(strides))

    def reshaped(self, shape: Sequence[int]) -> Strided | None:
        """The elements in the same order with other axes; None: they would have to be moved."""
        runs: list[tuple[int, int]] = []  # of elements that lie at equal distances
        for size, stride in zip(self.shape, self.strides, strict=True):
            if size == 1:
                continue
            if runs and runs[-1][1] == stride * size:
                runs[-1] = (runs[-1][0] * size, stride)
            else:
                runs.append((size, stride))
        strides: list[int] = []
        left, stride = runs.pop() if runs else (1, 0)
        for size in reversed(shape):
            if size > 1 and left == 1:
                left, stride = runs.pop()
            if left % size:
                return None
            strides.append(stride if size > 1 else 0)
            left, stride = left // size, stride * size
        return replace(self, shape=tuple(shape), strides=tuple(reversed(strides)))
