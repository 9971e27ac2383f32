"""``pycuda.driver``: memory is ctypes', streams do nothing until somebody waits for them."""

import ctypes
import os

MEMORY = {}
STREAMS = {}
clock = [0.0]


class Error(Exception):
    pass


class LogicError(Error):
    pass


class MemoryError(Error):  # noqa: A001
    pass


class ctx_flags:  # noqa: N801
    SCHED_SPIN, SCHED_BLOCKING_SYNC = 1, 4


def init():
    if os.environ.get("STANDIN_GPU") == "none":
        raise LogicError("cuInit failed: no CUDA-capable device is detected")


def get_driver_version():
    return 10020


class Context:
    def pop(self):
        print("this line goes to C++'s stdout, not into an answer")

    def detach(self):
        assert not STREAMS, "the context must be the last to go"


class Device:
    def __init__(self, number):
        assert number == 0

    def name(self):
        return "NVIDIA Tegra X1"

    def compute_capability(self):
        return (5, 3)

    def make_context(self, flags=0):
        assert flags == ctx_flags.SCHED_SPIN
        return Context()


class Stream:
    def __init__(self, flags=0):
        self.handle = id(self)
        STREAMS[self.handle] = []

    def __del__(self):
        del STREAMS[self.handle]

    def synchronize(self):
        queue = STREAMS[self.handle]
        while queue:
            queue.pop(0)()


class Event:
    time = None

    def record(self, stream):
        def work():
            self.time = clock[0]

        STREAMS[stream.handle].append(work)
        return self

    def time_till(self, end):
        if self.time is None or end.time is None:
            raise LogicError("cuEventElapsedTime failed: device not ready")
        return end.time - self.time


class DeviceAllocation:
    def __init__(self, size):
        self.memory = ctypes.create_string_buffer(b"\xcd" * size, size)
        self.address = ctypes.addressof(self.memory)
        MEMORY[self.address] = self.memory

    def __int__(self):
        return self.address

    def __del__(self):
        del MEMORY[self.address]


def mem_alloc(size):
    if size > 1 << 20:
        raise MemoryError("cuMemAlloc failed: out of memory")
    return DeviceAllocation(size)


def pagelocked_empty(shape, dtype):
    assert dtype == "uint8"
    return bytearray(b"\xab" * shape[0])


def memcpy_htod_async(dest, src, stream):
    def work():
        MEMORY[int(dest)][:] = bytes(src)
        clock[0] += 0.25

    STREAMS[stream.handle].append(work)


def memcpy_dtoh_async(dest, src, stream):
    def work():
        dest[:] = bytes(MEMORY[int(src)])
        clock[0] += 0.125

    STREAMS[stream.handle].append(work)
