"""What a machine says about itself: the part of a measurement that no number shows."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _cpu_model() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model", "Hardware"}:
            return value.strip()
    return platform.processor() or "unknown"


def facts() -> dict[str, Any]:
    """This machine, as JSON-safe values: CPU, cores, governor, memory, versions, TVM's threads.

    ``tvm_num_threads`` is the environment's ``TVM_NUM_THREADS`` (None: TVM decides).
    """
    threads = os.environ.get("TVM_NUM_THREADS")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        version: str | None = metadata.version("apache-tvm")
    except metadata.PackageNotFoundError:
        version = None
    return {
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory_bytes": memory,
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "tvm": version,
        "tvm_num_threads": int(threads) if threads and threads.isdigit() else None,
    }
