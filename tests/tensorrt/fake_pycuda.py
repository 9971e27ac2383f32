"""``pycuda.driver`` over a `FakeGpu`, with the calls and the exceptions of pycuda's own sources."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_gpu import FakeGpu, Refused

# What cuGetErrorString says, which is all that pycuda passes on.
TEXTS = {
    "cudaErrorMemoryAllocation": "out of memory",
    "cudaErrorIllegalAddress": "an illegal memory access was encountered",
    "cudaErrorInvalidValue": "invalid argument",
    "cudaErrorNotReady": "device not ready",
}


class _Pinned(np.ndarray):
    """An array whose `base` frees it, as in pycuda."""

    allocation: Any = None

    @property
    def base(self) -> Any:  # type: ignore[override]
        return self.allocation


class FakePyCuda:
    """The module ``pycuda.driver``."""

    class Error(Exception):
        pass

    class MemoryError(Error):  # noqa: A001 - the package's name
        pass

    class LogicError(Error):
        pass

    event_flags = SimpleNamespace(DEFAULT=0, BLOCKING_SYNC=1)

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu
        self.contexts = 0
        self.flags: list[int] = []
        api = self

        class Context:
            def push(self) -> None:
                api.contexts += 1

            def pop(self) -> None:
                api.contexts -= 1

        class Device:
            def __init__(self, number: int) -> None:
                pass

            @staticmethod
            def count() -> int:
                return gpu.devices

            def retain_primary_context(self) -> Context:
                return Context()

        class Stream:
            def __init__(self, flags: int = 0) -> None:
                with api.asked("cuStreamCreate"):
                    self.handle = gpu.stream().number

            def __del__(self) -> None:
                gpu.streams.pop(self.handle, None)

            def is_done(self) -> bool:
                with api.asked("cuStreamQuery"):
                    gpu.step(self.handle)
                return not gpu.streams[self.handle].queue

        class Event:
            def __init__(self, flags: int = 0) -> None:
                api.flags.append(flags)
                with api.asked("cuEventCreate"):
                    self._event = gpu.event()

            def __del__(self) -> None:
                gpu.events.discard(self._event)

            def record(self, stream: Stream) -> Event:
                self._stream = stream.handle
                with api.asked("cuEventRecord"):
                    gpu.record(self._event, stream.handle)
                return self

            def synchronize(self) -> Event:
                with api.asked("cuEventSynchronize"):
                    gpu.synchronize(self._stream)
                return self

            def time_till(self, end: Event) -> float:
                with api.asked("cuEventElapsedTime"):
                    return gpu.elapsed_ms(self._event, end._event)

        self.Device, self.Stream, self.Event = Device, Stream, Event

    @contextlib.contextmanager
    def asked(self, call: str) -> Iterator[None]:
        try:
            self._gpu.called(call)
            yield
        except Refused as refused:
            kind = self.LogicError
            if refused.name == "cudaErrorMemoryAllocation":
                kind = self.MemoryError
            raise kind(f"{call} failed: {TEXTS[refused.name]}") from None

    def init(self) -> None:
        if not self._gpu.driver:
            raise self.LogicError("cuInit failed: no CUDA-capable device is detected")

    def mem_get_info(self) -> tuple[int, int]:
        return self._gpu.total - self._gpu.used, self._gpu.total

    def mem_alloc(self, size: int) -> Any:
        with self.asked("cuMemAlloc"):
            address = self._gpu.malloc(size)
        gpu = self._gpu

        class DeviceAllocation:
            def __int__(self) -> int:
                return address

            def free(self) -> None:
                gpu.free(address)

        return DeviceAllocation()

    def pagelocked_empty(self, shape: tuple[int], dtype: Any) -> np.ndarray:
        with self.asked("cuMemHostAlloc"):
            array = self._gpu.pin(shape[0])
        made = array.view(_Pinned)
        address = int(array.ctypes.data)
        made.allocation = SimpleNamespace(free=lambda: self._gpu.unpin(address))
        return made

    def memcpy_htod_async(self, dest: int, src: np.ndarray, stream: Any) -> None:
        with self.asked("cuMemcpyHtoDAsync"):
            self._gpu.copy(dest, src.ctypes.data, src.nbytes, stream.handle, True)

    def memcpy_dtoh_async(self, dest: np.ndarray, src: int, stream: Any) -> None:
        with self.asked("cuMemcpyDtoHAsync"):
            self._gpu.copy(dest.ctypes.data, src, dest.nbytes, stream.handle, False)
