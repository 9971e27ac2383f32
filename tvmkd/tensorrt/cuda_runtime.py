"""The CUDA calls that running an engine needs, as a protocol, and their errors.

Device memory is an address (int); pinned memory is a numpy array of bytes; streams, events and
graphs are objects of the CUDA package.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from tvmkd.base.errors import TvmkdError

Stream = Any
Event = Any
Graph = Any

STICKY = frozenset(
    {
        "cudaErrorECCUncorrectable",
        "cudaErrorIllegalAddress",
        "cudaErrorLaunchTimeout",
        "cudaErrorAssert",
        "cudaErrorHardwareStackError",
        "cudaErrorIllegalInstruction",
        "cudaErrorMisalignedAddress",
        "cudaErrorInvalidAddressSpace",
        "cudaErrorInvalidPc",
        "cudaErrorLaunchFailure",
    }
)
"""After one of these errors every later call fails too; only a new process can use the GPU."""


class CudaError(TvmkdError):
    """A CUDA call failed.

    Attributes:
        name: CUDA's name of the error, for example "cudaErrorIllegalAddress".
    """

    def __init__(self, call: str, name: str, text: str) -> None:
        tail = "; this process has lost the GPU: start it again" if name in STICKY else ""
        super().__init__(f"CUDA: {call}: {text} ({name}){tail}")
        self.name = name


class OutOfMemory(CudaError):
    """The GPU's memory, or the host's pinned memory, is full."""


class CudaRuntime(Protocol):
    """One GPU, used through one package and from one thread.

    Every method raises `CudaError` if the CUDA call fails, and `OutOfMemory` if memory is full.

    Attributes:
        package: the package's name.
        captures: whether it supports CUDA graphs.
        spin: whether the host spins while it waits for the GPU (lower latency), or sleeps.
    """

    package: str
    captures: bool
    spin: bool

    def memory(self) -> tuple[int, int]:
        """Free and total memory of the GPU in bytes."""

    def malloc(self, size: int) -> int:
        """Allocates ``size`` bytes on the GPU and returns the address."""

    def free(self, address: int) -> None:
        """Frees memory of `malloc`."""

    def pin(self, size: int) -> np.ndarray:
        """Allocates ``size`` bytes (uint8) of pinned host memory, for asynchronous copies."""

    def unpin(self, array: np.ndarray) -> None:
        """Frees memory of `pin`."""

    def stream(self) -> Stream:
        """Creates a stream."""

    def stream_address(self, stream: Stream) -> int:
        """The stream's handle as a number, for TensorRT."""

    def destroy_stream(self, stream: Stream) -> None:
        """Destroys a stream."""

    def synchronize(self, stream: Stream) -> None:
        """Waits until the stream's work is done."""

    def to_device(self, address: int, source: np.ndarray, stream: Stream) -> None:
        """Enqueues a copy from pinned memory to the GPU."""

    def to_host(self, target: np.ndarray, address: int, stream: Stream) -> None:
        """Enqueues a copy from the GPU to pinned memory."""

    def event(self) -> Event:
        """Creates an event."""

    def destroy_event(self, event: Event) -> None:
        """Destroys an event."""

    def record(self, event: Event, stream: Stream) -> None:
        """Enqueues the event."""

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """Milliseconds on the GPU's clock between two events that are both done."""

    def begin_capture(self, stream: Stream) -> None:
        """Starts a capture: from now on work on the stream is recorded and not executed."""

    def end_capture(self, stream: Stream) -> Graph:
        """Ends the capture and returns the recorded work as a graph, ready to launch."""

    def abandon_capture(self, stream: Stream) -> None:
        """Ends a capture that failed, and clears CUDA's error."""

    def launch(self, graph: Graph, stream: Stream) -> None:
        """Enqueues a graph."""

    def destroy_graph(self, graph: Graph) -> None:
        """Destroys a graph."""

    def close(self) -> None:
        """Releases the GPU."""


def error(call: str, name: str, text: str) -> CudaError:
    """The exception for a call that failed with the CUDA error ``name``."""
    kind = OutOfMemory if name == "cudaErrorMemoryAllocation" else CudaError
    return kind(call, name, text)


def version_text(number: int) -> str:
    """CUDA's version number (12040) as people write it (12.4)."""
    return f"{number // 1000}.{number % 1000 // 10}"
