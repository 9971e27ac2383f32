"""Finds this machine's GPU through NVIDIA's driver; an engine runs only on the GPU it is for."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import re
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

_LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_DRIVER_FILES = {
    # A PC has the kernel module's release; on a Jetson the driver is part of L4T.
    "/proc/driver/nvidia/version": r"Kernel Module.*?(\d+\.[\d.]+)",
    "/etc/nv_tegra_release": r"# (R\d+) \(release\), REVISION: ([\d.]+)",
}


@dataclass(frozen=True)
class Gpu:
    """A GPU and its driver.

    Attributes:
        name: the driver's name for it.
        compute_capability: for example ``8.6``.
        driver: the driver's release; if unknown, the newest CUDA version that it supports.
        uuid: ``GPU-...``, as nvidia-smi shows it.
    """

    name: str
    compute_capability: str
    driver: str
    uuid: str | None = None


@functools.lru_cache(maxsize=1)
def find() -> Gpu | None:
    """The driver's first GPU; None if there is no GPU or no driver."""
    try:
        cuda = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    device, version, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None
    name = ctypes.create_string_buffer(256)
    numbers = []
    asked = [cuda.cuDeviceGet(ctypes.byref(device), 0), cuda.cuDeviceGetName(name, 256, device)]
    for attribute in (_MAJOR, _MINOR):
        number = ctypes.c_int()
        asked.append(cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, device))
        numbers.append(str(number.value))
    asked.append(cuda.cuDriverGetVersion(ctypes.byref(version)))
    identity = (ctypes.c_ubyte * 16)()
    asked.append(cuda.cuDeviceGetUuid(ctypes.byref(identity), device))
    if any(asked):
        return None
    release = _release() or f"CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    return Gpu(
        name.value.decode(errors="replace"),
        ".".join(numbers),
        release,
        f"GPU-{UUID(bytes=bytes(identity))}",
    )


def _release() -> str | None:
    for path, pattern in _DRIVER_FILES.items():
        with contextlib.suppress(OSError):
            found = re.search(pattern, Path(path).read_text(encoding="utf-8", errors="replace"))
            if found:
                return ".".join(found.groups())
    return None
