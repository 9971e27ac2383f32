"""The protocol of a loaded library, and the input buffers that the implementations share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]


class Spec(Protocol):
    """Name, shape (a string is a free dimension) and numpy dtype of an input."""

    @property
    def name(self) -> str:
        """The input's name."""

    @property
    def shape(self) -> Sequence[int | str]:
        """The input's shape."""

    @property
    def dtype(self) -> str:
        """numpy's name of the element type."""


class Program(Protocol):
    """A loaded library. Not thread-safe."""

    def takes(self, arrays: Sequence[Array]) -> bool:
        """True if the arrays match the preallocated buffers. False means unknown: validate."""

    def run(self, arrays: Sequence[Array], fit: bool = False) -> list[Array]:
        """Runs the model on one array for each input; the caller owns the outputs.

        Args:
            fit: the result of `takes` for these arrays.
        """


class LoadError(Exception):
    """TVM cannot load a library. ``tvm`` is the version of TVM."""

    def __init__(self, message: str, tvm: str) -> None:
        super().__init__(message)
        self.tvm = tvm


class InputBuffer:
    """A preallocated buffer for one input, 64-byte aligned, that kernels read directly.

    Making a TVM tensor took 16 us in each call where it was measured, half the run time of a small
    model; copying into a preallocated buffer took less than 1 us.
    """

    ALIGNMENT = 64

    def __init__(self, spec: Spec, from_dlpack: Callable[[Any], Any]) -> None:
        import numpy as np

        self.dtype = np.dtype(spec.dtype)
        self.shape = tuple(int(size) for size in spec.shape)
        size = int(np.prod(self.shape)) * self.dtype.itemsize
        raw = np.zeros(size + self.ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % self.ALIGNMENT
        self._array = raw[start : start + size].view(self.dtype).reshape(self.shape)
        self.tensor = from_dlpack(self._array)

    def takes(self, array: Array) -> bool:
        """True if ``array`` has this buffer's shape and dtype."""
        return (
            getattr(array, "shape", None) == self.shape
            and getattr(array, "dtype", None) == self.dtype
        )

    def fill(self, array: Array) -> Any:
        """Copies ``array`` in and returns the tensor."""
        self._array[...] = array
        return self.tensor

    def holds(self, array: Array) -> bool:
        """True if ``array`` shares memory with this buffer."""
        import numpy as np

        return bool(np.may_share_memory(array, self._array))


class InputBuffers:
    """The preallocated buffers of a model's inputs.

    There are none if a shape has a free dimension, or if DLPack does not support a dtype.
    """

    def __init__(self, specs: Sequence[Spec], from_dlpack: Callable[[Any], Any]) -> None:
        self.buffers: list[InputBuffer] | None = None
        if not any(isinstance(size, str) for spec in specs for size in spec.shape):
            with contextlib.suppress(TypeError, ValueError, BufferError, RuntimeError):
                self.buffers = [InputBuffer(spec, from_dlpack) for spec in specs]

    def take(self, arrays: Sequence[Array]) -> bool:
        """True if each array fits its buffer."""
        places = self.buffers
        return (
            places is not None
            and len(arrays) == len(places)
            and all(map(InputBuffer.takes, places, arrays))
        )

    def fill(self, arrays: Sequence[Array]) -> list[Any]:
        """Copies the arrays in and returns the tensors."""
        return list(map(InputBuffer.fill, self.buffers or [], arrays))

    def own(self, output: Array) -> Array:
        """The output, copied if it shares memory with a buffer: a model may return its input."""
        inside = any(place.holds(output) for place in self.buffers or [])
        return output.copy() if inside else output
