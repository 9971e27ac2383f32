"""Runs a standalone library (``tvmkd build --runtime standalone``) in this process, without TVM."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import TvmkdError
from tvmkd.runtime.program import LoadError, Spec

if TYPE_CHECKING:
    from tvmkd.runtime.program import Array

NATIVE = Path(__file__).parent / "native" / "standalone"
"""The sources of the runtime that is linked into every standalone library."""

ENTRY = "tvmkd_library_v1"
API_VERSION = 1
ALIGNMENT = 64
"""Bytes; buffers that begin at a multiple are not copied."""


class Tensor(ctypes.Structure):
    """``tvmkd_tensor`` of ``tvmkd.h``."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("ndim", ctypes.c_int32),
        ("bytes", ctypes.c_uint64),
    ]


class Options(ctypes.Structure):
    """``tvmkd_options`` of ``tvmkd.h``."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("threads", ctypes.c_int32),
        ("cpus", ctypes.POINTER(ctypes.c_int32)),
        ("cpu_count", ctypes.c_int32),
        ("spin_us", ctypes.c_int32),
    ]


_POINTERS = ctypes.POINTER(ctypes.c_void_p)
_open = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Options), ctypes.POINTER(ctypes.c_void_p))
_run = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, _POINTERS, _POINTERS)
_run_until = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    _POINTERS,
    _POINTERS,
    ctypes.c_int64,
    ctypes.POINTER(ctypes.c_int32),
)
_last_error = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)
_close = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Library(ctypes.Structure):
    """``tvmkd_library`` of ``tvmkd.h``."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("api_version", ctypes.c_uint32),
        ("name", ctypes.c_char_p),
        ("target", ctypes.c_char_p),
        ("built_by", ctypes.c_char_p),
        ("digest", ctypes.c_char_p),
        ("inputs", ctypes.POINTER(Tensor)),
        ("outputs", ctypes.POINTER(Tensor)),
        ("input_count", ctypes.c_int32),
        ("output_count", ctypes.c_int32),
        ("weight_bytes", ctypes.c_uint64),
        ("arena_bytes", ctypes.c_uint64),
        ("exit_count", ctypes.c_int32),
        ("open", _open),
        ("run", _run),
        ("run_until", _run_until),
        ("last_error", _last_error),
        ("close", _close),
    ]


def describe(path: Path) -> Library:
    """The description in a standalone library, which stays loaded.

    Raises:
        LoadError: it is no such library, or of a newer interface.
    """
    try:
        entry = getattr(ctypes.CDLL(os.fspath(path)), ENTRY)
    except (OSError, AttributeError) as error:
        raise LoadError(str(error), "the C runtime") from None
    entry.restype = ctypes.POINTER(Library)
    library: Library = entry().contents
    if library.api_version != API_VERSION:
        raise LoadError(f"its interface has version {library.api_version}", "the C runtime")
    return library


class StandaloneProgram:
    """Implements :class:`tvmkd.runtime.program.Program` for standalone libraries.

    Args:
        path: the library.
        specs: its inputs.
        threads: the calling thread included; None: ``TVM_NUM_THREADS``, or one for each core of the
            target that the process may use.
    """

    def __init__(self, path: Path, specs: Sequence[Spec], threads: int | None = None) -> None:
        import numpy as np

        self._library = library = describe(path)
        asked = os.environ.get("TVM_NUM_THREADS", "") if threads is None else str(threads)
        options = Options(ctypes.sizeof(Options), int(asked) if asked.isdigit() else 0)
        instance = ctypes.c_void_p()
        if library.open(ctypes.byref(options), ctypes.byref(instance)):
            raise LoadError(library.last_error(None).decode(), "the C runtime")
        self._instance = instance
        weakref.finalize(self, library.close, instance)
        self._takes = [(tuple(spec.shape), np.dtype(spec.dtype)) for spec in specs]
        outputs = library.outputs[: library.output_count]
        self._gives = [
            (tuple(each.shape[: each.ndim]), np.dtype(each.dtype.decode()), int(each.bytes))
            for each in outputs
        ]
        self._inputs = (ctypes.c_void_p * max(1, library.input_count))()
        self._outputs = (ctypes.c_void_p * max(1, library.output_count))()

    def takes(self, arrays: Sequence[Array]) -> bool:
        """True if the arrays have the shapes and dtypes of the inputs."""
        return len(arrays) == len(self._takes) and all(
            getattr(array, "shape", None) == shape and getattr(array, "dtype", None) == dtype
            for array, (shape, dtype) in zip(arrays, self._takes, strict=True)
        )

    def run(self, arrays: Sequence[Array], fit: bool = False) -> list[Array]:
        """Runs the model.

        Raises:
            TvmkdError: a kernel failed.
        """
        del fit
        status = self._library.run(self._instance, *self._bound(arrays))
        if status:
            raise TvmkdError(self._library.last_error(self._instance).decode())
        return self._made

    def run_until(self, arrays: Sequence[Array], deadline_ns: int) -> tuple[list[Array], int]:
        """Runs to the last exit that is expected to be done at a time of ``time.monotonic_ns``.

        Returns:
            the outputs, and the number of the exit from 0.

        Raises:
            TvmkdError: a kernel failed, or even the first exit would be late.
        """
        taken = ctypes.c_int32()
        given = self._bound(arrays)
        status = self._library.run_until(self._instance, *given, deadline_ns, ctypes.byref(taken))
        if status:
            raise TvmkdError(self._library.last_error(self._instance).decode())
        return self._made, taken.value

    def _bound(self, arrays: Sequence[Array]) -> tuple[Any, Any]:
        """The pointers of inputs and new outputs; both are kept until the next run."""
        import numpy as np

        # An array of the other byte order or with steps has no buffer that C can read.
        self._given = [np.require(array, requirements="C") for array in arrays]
        self._made = [_empty(*each) for each in self._gives]
        for index, array in enumerate(self._given):
            self._inputs[index] = array.__array_interface__["data"][0]
        for index, array in enumerate(self._made):
            self._outputs[index] = array.__array_interface__["data"][0]
        return self._inputs, self._outputs


def _empty(shape: tuple[int, ...], dtype: Any, size: int) -> Array:
    import numpy as np

    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.__array_interface__["data"][0] % ALIGNMENT
    array: Array = raw[start : start + size].view(dtype).reshape(shape)
    return array
