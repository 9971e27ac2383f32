"""What NVIDIA's driver says of the GPUs here, without CUDA: through ``libcuda.so.1`` alone.

Nothing is loaded onto a GPU, and no context is made.
https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__DEVICE.html
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from tvmkd.base.errors import MissingError

LIBRARY = "libcuda.so.1"
_ATTRIBUTES = {
    "threads_per_block": 1,
    "shared_per_block": 8,
    "warp": 10,
    "registers_per_block": 12,
    "multiprocessors": 16,
    "major": 75,
    "minor": 76,
    "memory_khz": 36,
    "bus_bits": 37,
    "integrated": 18,
}
"""``CUdevice_attribute`` of each figure."""
PTX = {
    (8, 0): "5.0",
    (9, 0): "6.0",
    (9, 1): "6.1",
    (9, 2): "6.2",
    (10, 0): "6.3",
    (10, 1): "6.4",
    (10, 2): "6.5",
    (11, 0): "7.0",
    (11, 1): "7.1",
    (11, 2): "7.2",
    (11, 3): "7.3",
    (11, 4): "7.4",
    (11, 5): "7.5",
    (11, 6): "7.6",
    (11, 7): "7.7",
    (11, 8): "7.8",
    (12, 0): "8.0",
    (12, 1): "8.1",
    (12, 2): "8.2",
    (12, 3): "8.3",
    (12, 4): "8.4",
    (12, 5): "8.5",
    (12, 7): "8.6",
    (12, 8): "8.7",
    (12, 9): "8.8",
    (13, 0): "9.0",
}
"""The newest PTX version of each CUDA version; one that is not here has that of the one before.
https://docs.nvidia.com/cuda/parallel-thread-execution/#release-notes"""


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver describes it.

    Attributes:
        name: ``NVIDIA H200``.
        capability: compute capability times ten, such as 90.
        memory: bytes.
        multiprocessors: how many.
        registers_per_block, shared_per_block, threads_per_block: the most of a block, without
            asking for more; shared memory in bytes.
        warp: threads.
        memory_gb_s: what its memory gives on paper; 0: not told.
        integrated: whether it shares the host's memory, as on Tegra.
        cuda: the newest CUDA version that the driver takes.
    """

    name: str
    capability: int
    memory: int
    multiprocessors: int
    registers_per_block: int
    shared_per_block: int
    threads_per_block: int
    warp: int
    memory_gb_s: float
    integrated: bool
    cuda: tuple[int, int]

    @property
    def arch(self) -> str:
        """``sm_90``."""
        return f"sm_{self.capability}"

    @property
    def ptx(self) -> str:
        """The newest PTX version that the driver takes."""
        known = [version for version in PTX if version <= self.cuda]
        return PTX[max(known)] if known else PTX[min(PTX)]


def gpus() -> list[Gpu]:
    """The GPUs of this machine, as ``CUDA_VISIBLE_DEVICES`` leaves them.

    Raises:
        MissingError: there is no driver, it does not start, or it finds no GPU.
    """
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        raise MissingError(
            f"no NVIDIA driver ({LIBRARY}): install one that `nvidia-smi` answers with, and in a "
            "container start it with --gpus all"
        ) from None
    _call(driver, "cuInit", 0)
    version, count = ctypes.c_int(), ctypes.c_int()
    _call(driver, "cuDriverGetVersion", ctypes.byref(version))
    _call(driver, "cuDeviceGetCount", ctypes.byref(count))
    if not count.value:
        raise MissingError("the NVIDIA driver finds no GPU: look at `nvidia-smi`")
    cuda = (version.value // 1000, version.value % 1000 // 10)
    return [_gpu(driver, index, cuda) for index in range(count.value)]


def _gpu(driver: ctypes.CDLL, index: int, cuda: tuple[int, int]) -> Gpu:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    _call(driver, "cuDeviceGet", ctypes.byref(device), index)
    _call(driver, "cuDeviceGetName", name, len(name), device)
    _call(driver, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    figures = {}
    for label, which in _ATTRIBUTES.items():
        value = ctypes.c_int()
        _call(driver, "cuDeviceGetAttribute", ctypes.byref(value), which, device)
        figures[label] = value.value
    return Gpu(
        name=name.value.decode(errors="replace"),
        capability=10 * figures["major"] + figures["minor"],
        memory=memory.value,
        multiprocessors=figures["multiprocessors"],
        registers_per_block=figures["registers_per_block"],
        shared_per_block=figures["shared_per_block"],
        threads_per_block=figures["threads_per_block"],
        warp=figures["warp"],
        # Two transfers in each cycle of the memory's clock.
        memory_gb_s=round(2 * figures["memory_khz"] * figures["bus_bits"] / 8e6, 1),
        integrated=bool(figures["integrated"]),
        cuda=cuda,
    )


def _call(driver: ctypes.CDLL, name: str, *given: object) -> None:
    code = getattr(driver, name)(*given)
    if code:
        text = ctypes.c_char_p()
        driver.cuGetErrorName(code, ctypes.byref(text))
        said = (text.value or str(code).encode()).decode()
        raise MissingError(f"the NVIDIA driver does not work ({name}: {said}): see `nvidia-smi`")
