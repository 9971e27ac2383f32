"""`CudaRuntime` with NVIDIA's cuda-bindings, whose calls return ``(error, *values)``."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tvmkd.base.errors import MissingError
from tvmkd.tensorrt import cuda_runtime
from tvmkd.tensorrt.cuda_runtime import Event, Graph, Stream

PACKAGE = "cuda-bindings"
HOW = "pip install cuda-bindings"


def open_device(spin: bool) -> CudaBindings:
    """Opens the first GPU.

    Raises:
        ImportError: cuda-bindings is not installed.
        MissingError: there is no driver, or no GPU.
    """
    from cuda.bindings import runtime

    return CudaBindings(runtime, spin)


class CudaBindings:
    """See `CudaRuntime`.

    Args:
        api: ``cuda.bindings.runtime``.
        spin: whether the host spins while it waits for the GPU.
    """

    package = PACKAGE
    captures = True

    def __init__(self, api: Any, spin: bool = True) -> None:
        self._api = api
        self.spin = spin
        _, number = api.cudaDriverGetVersion()
        if not number:
            raise MissingError(
                f"{PACKAGE} is here but no NVIDIA driver: install one that `nvidia-smi` answers "
                "with, and in a container start it with --gpus all"
            )
        found = api.cudaGetDeviceCount()
        name = _name(found[0])
        if name == "cudaErrorInsufficientDriver":
            raise MissingError(
                f"the NVIDIA driver (CUDA {cuda_runtime.version_text(number)}) is older than this "
                f"{PACKAGE} takes: pip install 'cuda-bindings=={number // 1000}.*', or a newer "
                "driver"
            )
        if name != "cudaSuccess" or not found[1]:
            raise MissingError(f"the NVIDIA driver finds no GPU ({name}): look at `nvidia-smi`")
        how = "cudaDeviceScheduleSpin" if spin else "cudaDeviceScheduleBlockingSync"
        # Before the first allocation, which creates the context.
        self._call("cudaSetDeviceFlags", getattr(api, how))
        self._call("cudaSetDevice", 0)
        self._call("cudaFree", 0)

    def _call(self, name: str, *arguments: Any) -> Any:
        code, *values = getattr(self._api, name)(*arguments)
        kind = _name(code)
        if kind != "cudaSuccess":
            _, text = self._api.cudaGetErrorString(code)
            raise cuda_runtime.error(name, kind, text.decode())
        return values[0] if len(values) == 1 else values

    def memory(self) -> tuple[int, int]:
        """Free and total memory in bytes."""
        free, total = self._call("cudaMemGetInfo")
        return int(free), int(total)

    def malloc(self, size: int) -> int:
        """``cudaMalloc``."""
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        """``cudaFree``."""
        self._call("cudaFree", address)

    def pin(self, size: int) -> np.ndarray:
        """``cudaMallocHost``."""
        address = int(self._call("cudaMallocHost", size))
        return np.ctypeslib.as_array((ctypes.c_ubyte * size).from_address(address))

    def unpin(self, array: np.ndarray) -> None:
        """``cudaFreeHost``."""
        self._call("cudaFreeHost", array.ctypes.data)

    def stream(self) -> Stream:
        """``cudaStreamCreateWithFlags``, not synchronised with the default stream."""
        return self._call("cudaStreamCreateWithFlags", self._api.cudaStreamNonBlocking)

    def stream_address(self, stream: Stream) -> int:
        """The ``cudaStream_t`` as a number."""
        return int(stream)

    def destroy_stream(self, stream: Stream) -> None:
        """``cudaStreamDestroy``."""
        self._call("cudaStreamDestroy", stream)

    def synchronize(self, stream: Stream) -> None:
        """``cudaStreamSynchronize``."""
        self._call("cudaStreamSynchronize", stream)

    def to_device(self, address: int, source: np.ndarray, stream: Stream) -> None:
        """``cudaMemcpyAsync``."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, stream)

    def to_host(self, target: np.ndarray, address: int, stream: Stream) -> None:
        """``cudaMemcpyAsync``."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, address, target.nbytes, kind, stream)

    def event(self) -> Event:
        """``cudaEventCreateWithFlags``, which waits in the same way as the device."""
        waits = self._api.cudaEventDefault if self.spin else self._api.cudaEventBlockingSync
        return self._call("cudaEventCreateWithFlags", waits)

    def destroy_event(self, event: Event) -> None:
        """``cudaEventDestroy``."""
        self._call("cudaEventDestroy", event)

    def record(self, event: Event, stream: Stream) -> None:
        """``cudaEventRecord``."""
        self._call("cudaEventRecord", event, stream)

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """``cudaEventElapsedTime``."""
        return float(self._call("cudaEventElapsedTime", start, end))

    def begin_capture(self, stream: Stream) -> None:
        """``cudaStreamBeginCapture`` of this thread's calls only."""
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: Stream) -> Graph:
        """``cudaStreamEndCapture`` and ``cudaGraphInstantiate``."""
        graph = self._call("cudaStreamEndCapture", stream)
        try:
            return self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def abandon_capture(self, stream: Stream) -> None:
        """``cudaStreamEndCapture``, ignoring its error, and ``cudaGetLastError``."""
        code, *graph = self._api.cudaStreamEndCapture(stream)
        if _name(code) == "cudaSuccess":
            self._call("cudaGraphDestroy", *graph)
        self._api.cudaGetLastError()

    def launch(self, graph: Graph, stream: Stream) -> None:
        """``cudaGraphLaunch``."""
        self._call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: Graph) -> None:
        """``cudaGraphExecDestroy``."""
        self._call("cudaGraphExecDestroy", graph)

    def close(self) -> None:
        """Does nothing: the device's context belongs to the process."""


def _name(code: Any) -> str:
    """An error's name, or its number if this version has no name for it."""
    return str(getattr(code, "name", code))
