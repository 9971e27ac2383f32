"""The machine of a comparison: its facts, the CPUs to use, the load of other processes."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from tvmkd.base import machine as host
from tvmkd.boards.telemetry import files_here, zones

CPUS = Path("/sys/devices/system/cpu")


def facts() -> dict[str, Any]:
    """Machine, CPU, kernel, governor, turbo. Unknown values are None."""
    memory = host.memory_bytes()
    return {
        "machine": host.architecture(),
        "system": f"{platform.system()} {platform.release()}",
        "cpu": host.cpu_model(),
        "cpus": len(available_cpus()),
        "memory_bytes": None if memory is None else memory[0],
        "governor": host.governor(),
        "turbo": _turbo(),
        "python": platform.python_version(),
    }


def weather() -> dict[str, Any]:
    """The machine's changing state: hottest sensor in °C, clock in MHz, one-minute load."""
    return {
        "temperature_c": _temperature(),
        "mhz": _mhz(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def available_cpus() -> list[int]:
    """The CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def choose_cpus(threads: int) -> list[int]:
    """``threads`` CPUs to pin every engine to.

    Prefers the fastest kind of core (big before little), then one CPU per physical core before its
    siblings, then high numbers, since CPU 0 tends to handle interrupts. Returns fewer if the
    machine has fewer.
    """
    used_cores: set[str] = set()
    ranked: list[tuple[bool, int, int]] = []
    for cpu in sorted(available_cpus(), reverse=True):
        core = _line(CPUS / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu)
        capacity = int(_line(CPUS / f"cpu{cpu}/cpu_capacity") or 1024)
        ranked.append((core in used_cores, -capacity, -cpu))
        used_cores.add(core)
    ranked.sort(key=lambda item: (item[1], item[0], item[2]))
    return sorted(-cpu for _, _, cpu in ranked[:threads])


def work_elsewhere(pid: int) -> float | None:
    """CPU seconds since boot of all processes except ``pid``.

    Includes time stolen by the hypervisor. None if the kernel does not report it.
    """
    whole = (_text(Path("/proc/stat")) or "").partition("\n")[0].split()
    own = (_text(Path(f"/proc/{pid}/stat")) or "").rpartition(")")[2].split()
    if len(whole) < 9 or whole[0] != "cpu" or len(own) < 13:
        return None
    user, nice, system, _, _, irq, softirq, steal = (int(value) for value in whole[1:9])
    ours = int(own[11]) + int(own[12])
    return (user + nice + system + irq + softirq + steal - ours) / os.sysconf("SC_CLK_TCK")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def _line(path: Path) -> str | None:
    text = _text(path)
    return None if text is None else text.strip() or None


def _turbo() -> bool | None:
    no_turbo = _line(CPUS / "intel_pstate/no_turbo")
    if no_turbo is not None:
        return no_turbo == "0"
    boost = _line(CPUS / "cpufreq/boost")
    return None if boost is None else boost == "1"


def _temperature() -> float | None:
    # Zones of parts that are switched off may report zero.
    found = [zone.celsius for zone in zones(files_here()) if zone.celsius > 0]
    return max(found, default=None)


def _mhz() -> float | None:
    khz = _line(CPUS / "cpu0/cpufreq/scaling_cur_freq")
    if khz is not None:
        return int(khz) / 1000
    for line in (_text(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("cpu MHz"):
            return float(line.partition(":")[2])
    return None
