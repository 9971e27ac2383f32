"""The facts of a board: machine, versions, temperature, clocks.

The C server answers the same from ``native/facts.c``. Files are read below ``TVMKD_BOARD_ROOT``
(default: the root), so that a test can plant another board's.
"""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from tvmkd.base.version import __version__

SCHEMA = 1
CPUS = "/sys/devices/system/cpu"
THERMAL = "/sys/class/thermal"
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


def _path(path: str) -> Path:
    return Path(os.environ.get("TVMKD_BOARD_ROOT", "") + path)


def _read(path: str) -> str | None:
    try:
        return _path(path).read_text(errors="replace").strip("\0\n ")
    except OSError:
        return None


def _whole(path: str) -> int | None:
    text = _read(path)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def _found(pattern: str, path: str) -> str | None:
    match = re.search(pattern, _read(path) or "", re.MULTILINE)
    return None if match is None else match.group(1).strip()


def _names(folder: str, pattern: str) -> list[str]:
    names = [entry.name for entry in _path(folder).glob("*") if re.fullmatch(pattern, entry.name)]
    return sorted(names, key=lambda name: int(re.sub(r"\D", "", name)))


def _cpu() -> str:
    part = _found(r"^CPU part\s*:\s*(\S+)", "/proc/cpuinfo")
    if part in _PARTS:
        return _PARTS[part]
    named = _found(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", "/proc/cpuinfo")
    return named or platform.processor() or "unknown"


def _kilobytes(name: str) -> int | None:
    text = _found(rf"^{name}:\s+(\d+)", "/proc/meminfo")
    return None if text is None else int(text) * 1024


def _clocks() -> list[dict[str, int]]:
    found = []
    for name in _names(CPUS, r"cpu\d+"):
        values = [_whole(f"{CPUS}/{name}/cpufreq/scaling_{kind}_freq") for kind in _KINDS]
        if None not in values:
            clock = dict(zip(("now", "min", "max"), values, strict=True))
            found.append({"cpu": int(name[3:]), **clock})
    return found  # type: ignore[return-value]


_KINDS = ("cur", "min", "max")


def _thermal() -> list[dict[str, Any]]:
    found = []
    for name in _names(THERMAL, r"thermal_zone\d+"):
        kind, value = _read(f"{THERMAL}/{name}/type"), _whole(f"{THERMAL}/{name}/temp")
        # The PMIC zone of a Jetson Nano always reads 100 C.
        if kind is not None and value is not None and not kind.startswith("PMIC"):
            found.append({"zone": kind, "celsius": round(value / 1000, 1)})
    return found


def _throttled() -> bool | None:
    answer: bool | None = None
    for name in _names(THERMAL, r"cooling_device\d+"):
        kind, state = _read(f"{THERMAL}/{name}/type"), _whole(f"{THERMAL}/{name}/cur_state")
        slows = kind is not None and (
            kind.startswith(("thermal-cpufreq", "cpufreq", "tegra-")) or "throttle" in kind
        )
        if slows and state is not None:
            answer = bool(answer) or state > 0
    firmware = _read("/sys/devices/platform/soc/soc:firmware/get_throttled")
    if not answer and firmware:
        answer = bool(int(firmware, 16) & 0xF)
    return answer


def _nvpmodel() -> str | None:
    mode = _found(r"pmode:0*(\d+)", "/var/lib/nvpmodel/status")
    if mode is None:
        return None
    return _found(rf"< POWER_MODEL ID={mode} NAME=(\S+)", "/etc/nvpmodel.conf") or mode


def _l4t() -> str | None:
    match = re.search(
        r"# (\S+) \(release\), REVISION: ([^,]+)", _read("/etc/nv_tegra_release") or ""
    )
    return None if match is None else ".".join(match.groups())


def _cuda() -> str | None:
    return _found(r"CUDA Version (\S+)", "/usr/local/cuda/version.txt") or _found(
        r'"cuda"[^}]*"version"\s*:\s*"([^"]+)"', "/usr/local/cuda/version.json"
    )


def _tensorrt() -> str | None:
    names = [
        path.name.partition(".so.")[2]
        for folder in ("aarch64-linux-gnu", "x86_64-linux-gnu")
        for path in _path(f"/usr/lib/{folder}").glob("libnvinfer.so.*")
    ]
    return max(names, key=len, default=None)


def telemetry() -> dict[str, Any]:
    """Temperature and clocks of the board now.

    Returns:
        ``celsius`` (the hottest zone), ``thermal`` (each zone), ``clocks_khz``, ``governor``, and
        ``throttled`` (None if the board cannot read it).
    """
    zones = _thermal()
    return {
        "thermal": zones,
        "clocks_khz": _clocks(),
        "governor": _read(f"{CPUS}/cpu0/cpufreq/scaling_governor"),
        "throttled": _throttled(),
        "celsius": max((zone["celsius"] for zone in zones), default=None),
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
        "cpu": _cpu(),
        "model": _read("/proc/device-tree/model"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": _kilobytes("MemTotal"),
        "memory_available_bytes": _kilobytes("MemAvailable"),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "boot_id": _read("/proc/sys/kernel/random/boot_id"),
        "tvm": version,
        "tvm_num_threads": int(threads) if threads and threads.isdigit() else None,
        **telemetry(),
        "l4t": _l4t(),
        "nvpmodel": _nvpmodel(),
        "cuda": _cuda(),
        "tensorrt": _tensorrt(),
        "emulated": False,
        "emulator": None,
        "declared_delay_s": delay,
        "icount": False,
    }
