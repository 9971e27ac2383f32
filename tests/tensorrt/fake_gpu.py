"""A fake GPU: memory is numpy's, and a stream's work is done when the host waits for it.

It fails as CUDA does: out of memory, addresses that were never given out, copies from memory that
is not pinned, work that is not allowed during a capture, and errors that stay.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Work = Callable[[], None]


class Refused(Exception):
    """An error of CUDA; each fake package raises it in its own form."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Stream:
    def __init__(self, number: int) -> None:
        self.number = number
        self.queue: list[Work] = []
        self.noted: list[Work] | None = None
        self.spoilt = False


class Event:
    time: float | None = None


class FakeGpu:
    """One GPU and its driver.

    Attributes:
        log: every call's name, in order.
        clock: milliseconds; copies and kernels move it on.
    """

    def __init__(self, memory: int = 1 << 24, driver: int = 12040, devices: int = 1) -> None:
        self.total, self.driver, self.devices = memory, driver, devices
        self.log: list[str] = []
        self.clock = 0.0
        self.lost: str | None = None
        self.too_old = False
        self.memory: dict[int, np.ndarray] = {}
        self.pinned: dict[int, np.ndarray] = {}
        self.streams: dict[int, Stream] = {}
        self.events: set[Event] = set()
        self.graphs: set[int] = set()
        self.capturable = True
        self._held: dict[int, list[Work]] = {}
        self._count = 0

    def called(self, name: str) -> None:
        self.log.append(name)
        if self.lost is not None:
            raise Refused(self.lost)

    def lose(self, name: str = "cudaErrorIllegalAddress") -> None:
        """Lets every later call fail with the same error."""
        self.lost = name
        raise Refused(name)

    def held(self) -> dict[str, int]:
        """The objects that were not freed."""
        kinds = ("memory", "pinned", "streams", "events", "graphs")
        return {kind: len(getattr(self, kind)) for kind in kinds if getattr(self, kind)}

    @property
    def used(self) -> int:
        return sum(array.nbytes for array in self.memory.values())

    def _not_while_capturing(self) -> None:
        for stream in self.streams.values():
            if stream.noted is not None:
                stream.spoilt = True
                raise Refused("cudaErrorStreamCaptureUnsupported")

    def malloc(self, size: int) -> int:
        self._not_while_capturing()
        if self.used + size > self.total:
            raise Refused("cudaErrorMemoryAllocation")
        array = np.full(max(size, 1), 0xCD, np.uint8)
        self.memory[array.ctypes.data] = array
        return int(array.ctypes.data)

    def free(self, address: int) -> None:
        if address and self.memory.pop(address, None) is None:
            raise Refused("cudaErrorInvalidValue")

    def pin(self, size: int) -> np.ndarray:
        self._not_while_capturing()
        array = np.full(max(size, 1), 0xAB, np.uint8)
        self.pinned[array.ctypes.data] = array
        return array

    def unpin(self, address: int) -> None:
        if self.pinned.pop(address, None) is None:
            raise Refused("cudaErrorInvalidValue")

    def view(self, address: int, size: int) -> np.ndarray:
        """Bytes of the GPU's memory; a wrong address loses the GPU."""
        for start, array in self.memory.items():
            if start <= address and address + size <= start + array.nbytes:
                return array[address - start : address - start + size]
        self.lose()
        raise AssertionError

    def _host(self, address: int, size: int) -> np.ndarray:
        for start, array in self.pinned.items():
            if start <= address and address + size <= start + array.nbytes:
                return array[address - start : address - start + size]
        raise Refused("cudaErrorInvalidValue")  # the real one would copy, slowly

    def stream(self) -> Stream:
        self._count += 1
        stream = Stream(self._count)
        self.streams[stream.number] = stream
        return stream

    def put(self, number: int, work: Work, *, capturable: bool = True) -> None:
        """Enqueues work on a stream: done when the host waits, recorded during a capture."""
        if number not in self.streams:
            raise Refused("cudaErrorInvalidResourceHandle")
        stream = self.streams[number]
        if stream.noted is None:
            stream.queue.append(work)
        elif capturable:
            stream.noted.append(work)
        else:
            stream.spoilt = True
            raise Refused("cudaErrorStreamCaptureUnsupported")

    def copy(self, to: int, source: int, size: int, number: int, to_device: bool) -> None:
        host = self._host(source if to_device else to, size)

        def work() -> None:
            device = self.view(to if to_device else source, size)
            if to_device:
                device[:] = host
            else:
                host[:] = device
            self.clock += 0.25 if to_device else 0.125

        self.put(number, work)

    def step(self, number: int) -> None:
        """Does the next work on the stream."""
        stream = self.streams[number]
        if stream.noted is not None:
            stream.spoilt = True
            raise Refused("cudaErrorStreamCaptureUnsupported")
        if stream.queue:
            stream.queue.pop(0)()

    def synchronize(self, number: int) -> None:
        self.step(number)
        while self.streams[number].queue:
            self.step(number)

    def event(self) -> Event:
        event = Event()
        self.events.add(event)
        return event

    def record(self, event: Event, number: int) -> None:
        def work() -> None:
            event.time = self.clock

        self.put(number, work)

    def elapsed_ms(self, start: Event, end: Event) -> float:
        if start.time is None or end.time is None:
            raise Refused("cudaErrorNotReady")
        return end.time - start.time

    def begin_capture(self, number: int) -> None:
        self.streams[number].noted = []

    def end_capture(self, number: int) -> int:
        stream = self.streams[number]
        noted, spoilt = stream.noted, stream.spoilt or not self.capturable
        stream.noted, stream.spoilt = None, False
        if noted is None:
            raise Refused("cudaErrorIllegalState")
        if spoilt:
            raise Refused("cudaErrorStreamCaptureInvalidated")
        self._count += 1
        self._held[self._count] = noted
        return self._count

    def instantiate(self, graph: int) -> int:
        self._count += 1
        self._held[self._count] = self._held[graph]
        self.graphs.add(self._count)
        return self._count

    def launch(self, graph: int, number: int) -> None:
        for work in self._held[graph]:
            self.put(number, work)
