"""The calls of CUDA that running an engine needs, as a protocol, and its errors.

Device memory is an address (int); pinned
memory is a numpy array of bytes; streams, events and graphs are whatever the package makes them.
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
"""After one of these every later call fails the same way: only a new process gets the GPU back."""


class CudaError(TvmkdError):
    """CUDA refused a call.

    Attributes:
        name: CUDA's own for it, as "cudaErrorIllegalAddress".
    """

    def __init__(self, call: str, name: str, text: str) -> None:
        tail = "; this process has lost the GPU: start it again" if name in STICKY else ""
        super().__init__(f"CUDA: {call}: {text} ({name}){tail}")
        self.name = name


class OutOfMemory(CudaError):
    """The GPU, or what may be pinned of the host's memory, is full."""


class CudaRuntime(Protocol):
    """One GPU through one package. All calls come from one thread.

    Every method raises `CudaError` where CUDA refuses the call, `OutOfMemory` among them.

    Attributes:
        package: which one it is.
        captures: whether it can make CUDA graphs.
        spin: whether the host waits for the GPU by spinning (quick) or sleeping (cool).
    """

    package: str
    captures: bool
    spin: bool

    def memory(self) -> tuple[int, int]:
        """Bytes free and in all on the GPU."""

    def malloc(self, size: int) -> int:
        """The address of ``size`` bytes on the GPU."""

    def free(self, address: int) -> None:
        """Gives back what `malloc` gave."""

    def pin(self, size: int) -> np.ndarray:
        """``size`` bytes (uint8) of the host's memory that the GPU copies from by itself."""

    def unpin(self, array: np.ndarray) -> None:
        """Gives back what `pin` gave."""

    def stream(self) -> Stream:
        """A new stream."""

    def stream_address(self, stream: Stream) -> int:
        """What TensorRT takes for a stream."""

    def destroy_stream(self, stream: Stream) -> None:
        """Gives back what `stream` gave."""

    def synchronize(self, stream: Stream) -> None:
        """Waits until all that was put on the stream is done."""

    def to_device(self, address: int, source: np.ndarray, stream: Stream) -> None:
        """Puts a copy of pinned memory to the GPU on the stream."""

    def to_host(self, target: np.ndarray, address: int, stream: Stream) -> None:
        """Puts a copy from the GPU to pinned memory on the stream."""

    def event(self) -> Event:
        """A new event."""

    def destroy_event(self, event: Event) -> None:
        """Gives back what `event` gave."""

    def record(self, event: Event, stream: Stream) -> None:
        """Puts the event on the stream."""

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """Milliseconds of the GPU's clock between two events that have both happened."""

    def begin_capture(self, stream: Stream) -> None:
        """From here on, what is put on the stream is noted down and not done."""

    def end_capture(self, stream: Stream) -> Graph:
        """What was noted down, ready to be launched."""

    def abandon_capture(self, stream: Stream) -> None:
        """Ends a capture that failed, and takes what CUDA has to say of it."""

    def launch(self, graph: Graph, stream: Stream) -> None:
        """Puts all that a graph holds on the stream."""

    def destroy_graph(self, graph: Graph) -> None:
        """Gives back what `end_capture` gave."""

    def close(self) -> None:
        """Lets the GPU go."""


def error(call: str, name: str, text: str) -> CudaError:
    """The exception for a call that CUDA refused with the error of that name."""
    kind = OutOfMemory if name == "cudaErrorMemoryAllocation" else CudaError
    return kind(call, name, text)


def version_text(number: int) -> str:
    """CUDA's version number (12040) as people write it (12.4)."""
    return f"{number // 1000}.{number % 1000 // 10}"
