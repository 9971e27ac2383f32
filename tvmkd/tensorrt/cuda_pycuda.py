"""`CudaRuntime` with pycuda, which is available on a Jetson. It supports no CUDA graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tvmkd.base.errors import MissingError
from tvmkd.tensorrt import cuda_runtime
from tvmkd.tensorrt.cuda_runtime import Event, Graph, Stream

PACKAGE = "pycuda"
HOW = "pip install 'tvmkd[pycuda]', which compiles against an installed CUDA toolkit (cuda.h)"
NO_GRAPHS = "pycuda has no calls for CUDA graphs: pip install cuda-bindings"

# The CUDA runtime's error names for the driver's texts in pycuda's messages.
NAMES = {
    "out of memory": "cudaErrorMemoryAllocation",
    "an illegal memory access was encountered": "cudaErrorIllegalAddress",
    "unspecified launch failure": "cudaErrorLaunchFailure",
    "the launch timed out and was terminated": "cudaErrorLaunchTimeout",
    "misaligned address": "cudaErrorMisalignedAddress",
    "uncorrectable ECC error encountered": "cudaErrorECCUncorrectable",
}


def open_device(spin: bool) -> PyCuda:
    """Opens the first GPU.

    Raises:
        ImportError: pycuda is not installed, or the driver library that it is linked with.
        MissingError: there is no GPU.
    """
    import pycuda.driver

    return PyCuda(pycuda.driver, spin)


class PyCuda:
    """See `CudaRuntime`.

    Args:
        api: ``pycuda.driver``.
        spin: whether the host spins while it waits for the GPU.
    """

    package = PACKAGE
    captures = False

    def __init__(self, api: Any, spin: bool = True) -> None:
        self._api = api
        self.spin = spin
        try:
            api.init()
            count = api.Device.count()
        except api.Error as error:
            raise MissingError(f"{PACKAGE} finds no GPU ({error}): look at `nvidia-smi`") from None
        if not count:
            raise MissingError(f"{PACKAGE} finds no GPU: look at `nvidia-smi`")
        with self._asked("retain_primary_context"):
            # CUDA's runtime, and so every other library in this process, uses this context too.
            self._context = api.Device(0).retain_primary_context()
            self._context.push()
        # The primary context has no option for waiting, so each wait chooses.
        self._waiting = None if spin else api.Event(api.event_flags.BLOCKING_SYNC)
        self._memory: dict[int, Any] = {}
        self._pinned: dict[int, Any] = {}

    @contextlib.contextmanager
    def _asked(self, call: str) -> Iterator[None]:
        try:
            yield
        except self._api.Error as error:
            text = str(error).rpartition(" failed: ")[2]
            memory = isinstance(error, self._api.MemoryError)
            name = "cudaErrorMemoryAllocation" if memory else NAMES.get(text, text)
            raise cuda_runtime.error(call, name, text) from None

    def memory(self) -> tuple[int, int]:
        """Free and total memory in bytes."""
        with self._asked("mem_get_info"):
            free, total = self._api.mem_get_info()
        return int(free), int(total)

    def malloc(self, size: int) -> int:
        """``mem_alloc``."""
        with self._asked("mem_alloc"):
            found = self._api.mem_alloc(size)
        self._memory[int(found)] = found
        return int(found)

    def free(self, address: int) -> None:
        """``DeviceAllocation.free``."""
        with self._asked("free"):
            self._memory.pop(address).free()

    def pin(self, size: int) -> np.ndarray:
        """``pagelocked_empty``."""
        with self._asked("pagelocked_empty"):
            found: np.ndarray = self._api.pagelocked_empty((size,), np.uint8)
        self._pinned[found.ctypes.data] = found.base
        return found

    def unpin(self, array: np.ndarray) -> None:
        """Frees the array's allocation."""
        with self._asked("free"):
            self._pinned.pop(array.ctypes.data).free()

    def stream(self) -> Stream:
        """``Stream()``."""
        with self._asked("Stream"):
            return self._api.Stream()

    def stream_address(self, stream: Stream) -> int:
        """``Stream.handle``."""
        return int(stream.handle)

    def destroy_stream(self, stream: Stream) -> None:
        """Does nothing: it is destroyed with its last reference."""

    def synchronize(self, stream: Stream) -> None:
        """Spins on ``Stream.is_done``, or blocks in ``Event.synchronize``."""
        with self._asked("synchronize"):
            if self._waiting is not None:
                self._waiting.record(stream).synchronize()
            while not stream.is_done():
                pass

    def to_device(self, address: int, source: np.ndarray, stream: Stream) -> None:
        """``memcpy_htod_async``."""
        with self._asked("memcpy_htod_async"):
            self._api.memcpy_htod_async(address, source, stream)

    def to_host(self, target: np.ndarray, address: int, stream: Stream) -> None:
        """``memcpy_dtoh_async``."""
        with self._asked("memcpy_dtoh_async"):
            self._api.memcpy_dtoh_async(target, address, stream)

    def event(self) -> Event:
        """``Event()``."""
        with self._asked("Event"):
            return self._api.Event()

    def destroy_event(self, event: Event) -> None:
        """Does nothing: it is destroyed with its last reference."""

    def record(self, event: Event, stream: Stream) -> None:
        """``Event.record``."""
        with self._asked("record"):
            event.record(stream)

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """``Event.time_till``."""
        with self._asked("time_till"):
            return float(start.time_till(end))

    def begin_capture(self, stream: Stream) -> None:
        """Raises MissingError."""
        raise MissingError(NO_GRAPHS)

    def end_capture(self, stream: Stream) -> Graph:
        """Raises MissingError."""
        raise MissingError(NO_GRAPHS)

    def abandon_capture(self, stream: Stream) -> None:
        """Does nothing: no capture can have begun."""

    def launch(self, graph: Graph, stream: Stream) -> None:
        """Raises MissingError."""
        raise MissingError(NO_GRAPHS)

    def destroy_graph(self, graph: Graph) -> None:
        """Does nothing: no graph can exist."""

    def close(self) -> None:
        """Pops and releases the context."""
        self._waiting = None
        with contextlib.suppress(self._api.Error):
            self._context.pop()
        self._context = None
