"""Arrays in the memory of the driver that stands in, which export themselves by DLPack."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import numpy as np

CODES = {"i": 0, "u": 1, "f": 2}


class Tensor(ctypes.Structure):
    """``DLManagedTensor`` without its last two members, which only its owner reads."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


_capsule = ctypes.pythonapi.PyCapsule_New
_capsule.restype = ctypes.py_object
_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class Array:
    """Memory of the GPU; begins 256 bytes into what was allocated."""

    OFFSET = 256

    def __init__(self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.address, self.shape, self.dtype = address, shape, dtype
        self.device, self.gaps, self.refused = 0, False, False
        self.streams: list[int] = []
        self._kept: list[Any] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device

    def __dlpack__(self, stream: int | None = None) -> Any:
        if self.refused:
            raise BufferError("it has a gradient")
        assert stream != 0, "DLPack's 0 means nothing"
        count = len(self.shape)
        steps = [int(np.prod(self.shape[axis + 1 :])) for axis in range(count)]
        if self.gaps:
            steps[0], steps[-1] = 2 * steps[0], 2
        tensor = Tensor(
            self.address,
            2,
            self.device,
            count,
            CODES[self.dtype.kind],
            8 * self.dtype.itemsize,
            1,
            (ctypes.c_int64 * count)(*self.shape),
            (ctypes.c_int64 * count)(*steps),
            self.OFFSET,
        )
        self._kept.append(tensor)
        return _capsule(ctypes.addressof(tensor), b"dltensor", None)


class Gpu:
    """The first GPU of the driver, with its primary context."""

    def __init__(self) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        context = ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self._call("cuCtxSetCurrent", context)
        self._trace = Path(os.environ["FAKE_CUDA_TRACE"])

    def _call(self, name: str, *given: Any) -> None:
        assert getattr(self._driver, name)(*given) == 0, name

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Memory for an array."""
        made, kind = ctypes.c_uint64(), np.dtype(dtype)
        size = int(np.prod(shape)) * kind.itemsize + Array.OFFSET
        self._call("cuMemAlloc_v2", ctypes.byref(made), ctypes.c_size_t(size))
        return Array(made.value, shape, kind)

    def array(self, values: Any, **facts: Any) -> Array:
        """A copy of a numpy array; ``facts`` are attributes of it that are not as usual."""
        made = self.empty(values.shape, str(values.dtype))
        there, kept = ctypes.c_uint64(made.address + Array.OFFSET), np.ascontiguousarray(values)
        self._call("cuMemcpyHtoD_v2", there, kept.ctypes.data_as(ctypes.c_void_p), kept.nbytes)
        self._call("cuStreamSynchronize", None)
        for name, value in facts.items():
            setattr(made, name, value)
        return made

    def stream(self) -> int:
        """A new stream."""
        made = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(made), 1)
        return made.value or 0

    def read(self, array: Array, stream: int) -> Any:
        """The values of an array, once a stream is done."""
        found = np.empty(array.shape, array.dtype)
        there, here = ctypes.c_uint64(array.address + Array.OFFSET), found.ctypes.data
        handle = ctypes.c_void_p(stream)
        self._call("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(here), there, found.nbytes, handle)
        self._call("cuStreamSynchronize", handle)
        return found

    def forget(self) -> None:
        """Empties the list of calls."""
        self._trace.write_text("")

    def calls(self) -> list[str]:
        """What the driver was called with since."""
        return self._trace.read_text().splitlines()
