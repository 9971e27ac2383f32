"""The facts of a board: machine, versions, temperature, clocks.

The C server answers the same from ``native/facts.c``. Files are read below ``TVMKD_BOARD_ROOT``
(default: the root), so that a test can plant another board's.
"""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from typing import Any

from tvmkd.base.version import __version__
from tvmkd.boards.sysfs import Files, found
from tvmkd.boards.telemetry import READS as TELEMETRY_READS
from tvmkd.boards.telemetry import files_here, read

SCHEMA = 1
_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd42": "Cortex-A78AE",
}


READS = (
    "/proc/cpuinfo",
    "/proc/device-tree/model",
    "/proc/sys/kernel/random/boot_id",
    "/etc/nv_tegra_release",
    "/usr/local/cuda/version.txt",
    "/usr/local/cuda/version.json",
    *TELEMETRY_READS,
)
"""The files that `of_files` reads: what to ask a board for."""


def _cpu(files: Files) -> str:
    part = found(files, "/proc/cpuinfo", r"^CPU part\s*:\s*(\S+)")
    if part in _PARTS:
        return _PARTS[part]
    named = found(files, "/proc/cpuinfo", r"^(?:model name|Model|Hardware)\s*:\s*(.+)$")
    return named or platform.processor() or "unknown"


def _l4t(files: Files) -> str | None:
    text = files.text("/etc/nv_tegra_release") or ""
    match = re.search(r"# (\S+) \(release\), REVISION: ([^,]+)", text)
    return None if match is None else ".".join(match.groups())


def _cuda(files: Files) -> str | None:
    return found(files, "/usr/local/cuda/version.txt", r"CUDA Version (\S+)") or found(
        files, "/usr/local/cuda/version.json", r'"cuda"[^}]*"version"\s*:\s*"([^"]+)"'
    )


def _tensorrt(files: Files) -> str | None:
    names = [
        path.partition(".so.")[2]
        for folder in ("aarch64-linux-gnu", "x86_64-linux-gnu")
        for path in files.glob(f"/usr/lib/{folder}/libnvinfer.so.*")
    ]
    return max(names, key=len, default=None)


def telemetry() -> dict[str, Any]:
    """The state of the board now: `tvmkd.boards.board_state.Telemetry.to_dict`."""
    return read().to_dict()


def of_files(files: Files) -> dict[str, Any]:
    """The facts that a board's files tell, and its state; None where one is not told."""
    return {
        "cpu": _cpu(files),
        "model": files.text("/proc/device-tree/model"),
        "boot_id": files.text("/proc/sys/kernel/random/boot_id"),
        **read(files).to_dict(),
        "l4t": _l4t(files),
        "cuda": _cuda(files),
        "tensorrt": _tensorrt(files),
    }


def facts(delay: float | None = None) -> dict[str, Any]:
    """The facts of this machine, JSON-safe; None where one cannot be read.

    ``tvm_num_threads`` is the environment's ``TVM_NUM_THREADS`` (None: TVM decides).

    Args:
        delay: seconds that the server adds to each measurement, if it was started with a delay.
    """
    threads = os.environ.get("TVM_NUM_THREADS")
    try:
        version: str | None = metadata.version("apache-tvm")
    except metadata.PackageNotFoundError:
        version = None
    return {
        "schema": SCHEMA,
        "server": f"tvmkd board serve {__version__}",
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "tvm": version,
        "tvm_num_threads": int(threads) if threads and threads.isdigit() else None,
        **of_files(files_here()),
        "emulated": False,
        "emulator": None,
        "declared_delay_s": delay,
        "icount": False,
    }
