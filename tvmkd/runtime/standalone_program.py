"""Runs a standalone library (``tvmkd build --runtime standalone``) in this process, without TVM."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import MissingError, TvmkdError, UsageError
from tvmkd.base.exits import FEATURES, Rule
from tvmkd.runtime.program import LoadError, Spec

if TYPE_CHECKING:
    from tvmkd.runtime.program import Array

NATIVE = Path(__file__).parent / "native" / "standalone"
"""The sources of the runtime that is linked into every standalone library."""

ENTRY = "tvmkd_library_v1"
API_VERSION = 1
NO_MEMORY, NO_DEVICE = 2, 6
"""Of ``tvmkd_status``: what a library needs and this machine lacks."""

ALIGNMENT = 64
"""Bytes; buffers that begin at a multiple are not copied."""
LATE = 5
"""``TVMKD_LATE`` of ``tvmkd.h``."""
NO_DEADLINE = 2**63 - 1


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


_open = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Options), ctypes.POINTER(ctypes.c_void_p))
# Addresses as numbers: ctypes converts them fastest.
_run = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_run_until = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.POINTER(ctypes.c_int32),
)
_run_exit = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32
)
_enqueue = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
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
        ("thresholds", ctypes.POINTER(ctypes.c_double)),
        ("run_exit", _run_exit),
        # Missing in libraries of a smaller `size`: see `has`.
        ("frames", ctypes.c_void_p),
        ("run_frame", ctypes.c_void_p),
        ("enqueue", ctypes.c_void_p),
        ("temperatures", ctypes.POINTER(ctypes.c_double)),
        ("exit_weights", ctypes.POINTER(ctypes.c_double)),
    ]

    def has(self, member: str) -> bool:
        """Whether a member is there, which it is not in older libraries, and is not NULL."""
        place = getattr(type(self), member)
        return bool(self.size >= place.offset + place.size and getattr(self, member))

    @property
    def rule(self) -> Rule:
        """When it leaves at an exit. An older library has no thresholds, and no early exits."""
        early = int(self.exit_count) - 1
        if not early:
            return Rule(())
        count = len(FEATURES)
        flat = self.exit_weights[: early * count] if self.has("exit_weights") else []
        return Rule(
            tuple(self.thresholds[:early]),
            tuple(self.temperatures[: early + 1]) if self.has("temperatures") else (),
            tuple(tuple(flat[row : row + count]) for row in range(0, len(flat), count)),
        )


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


class Late(TvmkdError):
    """Not even the first exit of a network is expected to be done at the deadline."""


class StandaloneProgram:
    """Implements :class:`tvmkd.runtime.program.Program` for standalone libraries.

    Args:
        path: the library.
        specs: its inputs.
        threads: the calling thread included; None: ``TVM_NUM_THREADS``, or one for each core of the
            target that the process may use.

    Attributes:
        exits: number of exits; 1 without early ones.
        rule: when it leaves at an exit; no thresholds without early exits.
    """

    def __init__(self, path: Path, specs: Sequence[Spec], threads: int | None = None) -> None:
        import numpy as np

        self._library, self._array = describe(path), np.ndarray
        library = self._library
        asked = os.environ.get("TVM_NUM_THREADS", "") if threads is None else str(threads)
        options = Options(ctypes.sizeof(Options), int(asked) if asked.isdigit() else 0)
        instance = ctypes.c_void_p()
        status = library.open(ctypes.byref(options), ctypes.byref(instance))
        if status:
            reason = library.last_error(None).decode(errors="replace")
            if status in (NO_MEMORY, NO_DEVICE):
                raise MissingError(f"{library.name.decode()}: {reason}")
            raise LoadError(reason, "the C runtime")
        self._instance, self._run = instance.value, library.run
        weakref.finalize(self, library.close, instance.value)
        self.exits = int(library.exit_count)
        self.rule = library.rule
        self._inputs = _Buffers(
            [(tuple(map(int, each.shape)), np.dtype(each.dtype)) for each in specs]
        )
        self._outputs = _Buffers(
            [
                (tuple(each.shape[: each.ndim]), np.dtype(each.dtype.decode()))
                for each in library.outputs[: library.output_count]
            ]
        )

    @property
    def instance(self) -> tuple[Library, int | None]:
        """The library's description and this instance of it."""
        return self._library, self._instance

    def takes(self, arrays: Sequence[Array]) -> bool:
        """True if they are numpy arrays with the shapes and dtypes of the inputs."""
        kind = self._array  # arrays of other libraries may have numpy's dtypes
        return len(arrays) == len(self._inputs.specs) and all(
            array.__class__ is kind and array.shape == shape and array.dtype == dtype
            for array, (shape, dtype) in zip(arrays, self._inputs.specs, strict=True)
        )

    def run(self, arrays: Sequence[Array], fit: bool = False) -> list[Array]:
        """Runs the model.

        Raises:
            TvmkdError: a kernel failed.
        """
        del fit
        inputs, made = self._inputs, self._outputs
        inputs.give(arrays)
        made.renew()
        self._check(self._run(self._instance, inputs.address, made.address))
        return made.result()

    def run_until(self, arrays: Sequence[Array], deadline_ns: int) -> tuple[list[Array], int]:
        """Runs to a confident exit, or the last one that is expected to be done at a deadline.

        Args:
            arrays: as for `run`.
            deadline_ns: a time of ``time.monotonic_ns``, or `NO_DEADLINE`; see ``tvmkd.h``.

        Returns:
            the outputs, and the number of the exit from 0.

        Raises:
            Late: even the first exit would be late.
            TvmkdError: a kernel failed.
        """
        inputs, made = self._inputs, self._outputs
        inputs.give(arrays)
        made.renew()
        taken = ctypes.c_int32()
        given = (self._instance, inputs.address, made.address, deadline_ns, ctypes.byref(taken))
        self._check(self._library.run_until(*given))
        return made.result(), taken.value

    def run_exit(self, arrays: Sequence[Array], index: int) -> list[Array]:
        """Runs to an exit, from 0, whatever the confidence.

        Raises:
            TvmkdError: a kernel failed, or there is no such exit.
        """
        if self.exits == 1:
            return self.run(arrays)
        inputs, made = self._inputs, self._outputs
        inputs.give(arrays)
        made.renew()
        given = (self._instance, inputs.address, made.address, index)
        self._check(self._library.run_exit(*given))
        return made.result()

    @property
    def bytes_held(self) -> int:
        """Bytes of the weights and of this instance's buffers."""
        return int(self._library.weight_bytes + self._library.arena_bytes)

    @property
    def outputs(self) -> list[tuple[tuple[int, ...], str]]:
        """Shape and dtype of each output."""
        return [(shape, str(dtype)) for shape, dtype in self._outputs.specs]

    def enqueue(self, inputs: Sequence[int], outputs: Sequence[int], stream: int = 0) -> None:
        """Puts a run into a stream of the GPU, and returns before it is done; see ``tvmkd.h``.

        Args:
            inputs, outputs: addresses in the GPU's memory.
            stream: a ``cudaStream_t`` as a number; 0: the default stream.

        Raises:
            UsageError: the library is for a CPU, or older than this.
            TvmkdError: the driver refused.
        """
        if not self._library.has("enqueue"):
            raise UsageError(
                f"{self._library.name.decode()}: takes no arrays in a GPU's memory: it is for a "
                "CPU, or older than this tvmkd"
            )
        given, made = ((ctypes.c_void_p * max(1, len(each)))(*each) for each in (inputs, outputs))
        self._check(_enqueue(self._library.enqueue)(self._instance, given, made, stream))

    def _check(self, status: int) -> None:
        if status:
            reason = self._library.last_error(self._instance).decode()
            raise (Late if status == LATE else TvmkdError)(reason)


class _Buffers:
    """A list of pointers for the library, to the caller's arrays or, if they are small, to buffers.

    Copying 16 KB takes less time than asking numpy for the address of an array.

    Attributes:
        specs: shape and dtype of each.
        address: of the list.
    """

    SMALL = 1 << 14

    def __init__(self, specs: Sequence[tuple[tuple[int, ...], Any]]) -> None:
        self.specs = specs
        self._pointers = (ctypes.c_void_p * max(1, len(specs)))()
        self.address = ctypes.addressof(self._pointers)
        self._buffers = [_empty(*spec) for spec in specs]
        self._own = [buffer.nbytes <= self.SMALL for buffer in self._buffers]
        for index, buffer in enumerate(self._buffers):
            self._pointers[index] = _address(buffer)
        self._all_own = all(self._own)

    def give(self, arrays: Sequence[Array]) -> None:
        """Takes the inputs of the next run."""
        import numpy as np

        for index, array in enumerate(arrays):
            if self._own[index]:
                self._buffers[index][...] = array
            else:
                # Kept until the next run: an array with gaps has no buffer that C can read.
                array = np.ascontiguousarray(array)
                self._buffers[index] = array
                self._pointers[index] = _address(array)

    def renew(self) -> None:
        """Makes room for the outputs of the next run: those of the last one are the caller's."""
        if self._all_own:
            return
        for index, spec in enumerate(self.specs):
            if not self._own[index]:
                self._buffers[index] = _empty(*spec)
                self._pointers[index] = _address(self._buffers[index])

    def result(self) -> list[Array]:
        """The outputs of the last run."""
        return [
            buffer.copy() if own else buffer
            for buffer, own in zip(self._buffers, self._own, strict=True)
        ]


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new array that begins at a multiple of `ALIGNMENT`."""
    import numpy as np

    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -_address(raw) % ALIGNMENT
    array: Array = raw[start : start + size].view(dtype).reshape(shape)
    return array
