"""``cuda.bindings.runtime`` over a `FakeGpu`: its names, its arguments, its tuples of answers."""

# ruff: noqa: N801, N802, N815 - the names are the package's

from __future__ import annotations

import enum
from types import SimpleNamespace
from typing import Any

from fake_gpu import Event, FakeGpu, Refused

SIGNATURES = {
    "cudaDriverGetVersion": "()",
    "cudaGetDeviceCount": "()",
    "cudaSetDeviceFlags": "(unsigned int flags)",
    "cudaSetDevice": "(int device)",
    "cudaMemGetInfo": "()",
    "cudaMalloc": "(size_t size)",
    "cudaFree": "(devPtr)",
    "cudaMallocHost": "(size_t size)",
    "cudaFreeHost": "(ptr)",
    "cudaMemcpyAsync": "(dst, src, size_t count, kind: cudaMemcpyKind, stream)",
    "cudaStreamCreateWithFlags": "(unsigned int flags)",
    "cudaStreamDestroy": "(stream)",
    "cudaStreamSynchronize": "(stream)",
    "cudaEventCreateWithFlags": "(unsigned int flags)",
    "cudaEventDestroy": "(event)",
    "cudaEventRecord": "(event, stream)",
    "cudaEventElapsedTime": "(start, end)",
    "cudaStreamBeginCapture": "(stream, mode: cudaStreamCaptureMode)",
    "cudaStreamEndCapture": "(stream)",
    "cudaGraphInstantiate": "(graph, unsigned long long flags)",
    "cudaGraphDestroy": "(graph)",
    "cudaGraphLaunch": "(graphExec, stream)",
    "cudaGraphExecDestroy": "(graphExec)",
    "cudaGetLastError": "()",
    "cudaGetErrorString": "(error: cudaError_t)",
}
"""The first line of each call's own documentation in cuda-bindings 13.5.0."""


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidResourceHandle = 400
    cudaErrorIllegalState = 401
    cudaErrorNotReady = 600
    cudaErrorIllegalAddress = 700
    cudaErrorLaunchFailure = 719
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


OK = cudaError_t.cudaSuccess
TEXTS = {
    "cudaErrorMemoryAllocation": b"out of memory",
    "cudaErrorIllegalAddress": b"an illegal memory access was encountered",
}


class FakeCudart:
    """The module ``cuda.bindings.runtime``."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice="h2d", cudaMemcpyDeviceToHost="d2h")
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaDeviceScheduleSpin, cudaDeviceScheduleBlockingSync = 1, 4
    cudaStreamNonBlocking, cudaEventDefault, cudaEventBlockingSync = 1, 0, 1

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu
        self.flags: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        call = getattr(self, f"_{name}")
        wanted = SIGNATURES[name].strip("()")
        count = len(wanted.split(",")) if wanted else 0

        def answer(*arguments: Any) -> tuple[Any, ...]:
            if len(arguments) != count:
                raise TypeError(f"{name}{SIGNATURES[name]}: {len(arguments)} arguments given")
            try:
                if name not in ("cudaGetErrorString", "cudaGetLastError"):
                    self._gpu.called(name)
                value = call(*arguments)
            except Refused as refused:
                # The package returns an error with None for each value.
                values = (None,) if name in RETURNS else ()
                return (cudaError_t[refused.name], *values)
            return (OK, *value) if isinstance(value, tuple) else (OK, value)

        return answer

    def _cudaDriverGetVersion(self) -> int:
        return self._gpu.driver

    def _cudaGetDeviceCount(self) -> int:
        if self._gpu.too_old:
            raise Refused("cudaErrorInsufficientDriver")
        if not self._gpu.devices:
            raise Refused("cudaErrorNoDevice")
        return self._gpu.devices

    def _cudaSetDeviceFlags(self, flags: int) -> tuple[()]:
        self.flags["device"] = flags
        return ()

    def _cudaSetDevice(self, device: int) -> tuple[()]:
        return ()

    def _cudaMemGetInfo(self) -> tuple[int, int]:
        return self._gpu.total - self._gpu.used, self._gpu.total

    def _cudaMalloc(self, size: int) -> int:
        return self._gpu.malloc(size)

    def _cudaFree(self, address: int) -> tuple[()]:
        self._gpu.free(address)
        return ()

    def _cudaMallocHost(self, size: int) -> int:
        return int(self._gpu.pin(size).ctypes.data)

    def _cudaFreeHost(self, address: int) -> tuple[()]:
        self._gpu.unpin(address)
        return ()

    def _cudaMemcpyAsync(self, to: int, source: int, size: int, kind: str, stream: Any) -> Any:
        self._gpu.copy(to, source, size, int(stream), kind == "h2d")
        return ()

    def _cudaStreamCreateWithFlags(self, flags: int) -> int:
        return self._gpu.stream().number

    def _cudaStreamDestroy(self, stream: int) -> tuple[()]:
        del self._gpu.streams[int(stream)]
        return ()

    def _cudaStreamSynchronize(self, stream: int) -> tuple[()]:
        self._gpu.synchronize(int(stream))
        return ()

    def _cudaEventCreateWithFlags(self, flags: int) -> Event:
        self.flags["event"] = flags
        return self._gpu.event()

    def _cudaEventDestroy(self, event: Event) -> tuple[()]:
        self._gpu.events.remove(event)
        return ()

    def _cudaEventRecord(self, event: Event, stream: int) -> tuple[()]:
        self._gpu.record(event, int(stream))
        return ()

    def _cudaEventElapsedTime(self, start: Event, end: Event) -> float:
        return self._gpu.elapsed_ms(start, end)

    def _cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[()]:
        self._gpu.begin_capture(int(stream))
        return ()

    def _cudaStreamEndCapture(self, stream: int) -> int:
        return self._gpu.end_capture(int(stream))

    def _cudaGraphInstantiate(self, graph: int, flags: int) -> int:
        return self._gpu.instantiate(graph)

    def _cudaGraphDestroy(self, graph: int) -> tuple[()]:
        return ()

    def _cudaGraphLaunch(self, graph: int, stream: int) -> tuple[()]:
        self._gpu.launch(graph, int(stream))
        return ()

    def _cudaGraphExecDestroy(self, graph: int) -> tuple[()]:
        self._gpu.graphs.remove(graph)
        return ()

    def _cudaGetLastError(self) -> tuple[()]:
        return ()

    def _cudaGetErrorString(self, error: cudaError_t) -> bytes:
        return TEXTS.get(error.name, error.name.encode())


RETURNS = frozenset(
    {
        *("cudaGetDeviceCount", "cudaMalloc", "cudaMallocHost", "cudaStreamCreateWithFlags"),
        *("cudaEventCreateWithFlags", "cudaEventElapsedTime", "cudaStreamEndCapture"),
        *("cudaGraphInstantiate", "cudaMemGetInfo"),
    }
)
