"""The state of a board now: temperatures, clocks, throttling, power, load.

Everything comes from /proc and /sys. `read` takes any `Files`: this machine, a folder that stands
for a board, or what a board sent over ssh.
"""

from __future__ import annotations

import os
import re

from tvmkd.boards import power, throttling
from tvmkd.boards.board_state import Clock, Telemetry, Zone
from tvmkd.boards.sysfs import Files, Tree, found, whole

ROOT = "TVMKD_BOARD_ROOT"
"""The environment variable with the folder that stands for the machine, in tests."""

ZONES = "/sys/class/thermal/thermal_zone*"
CPUS = "/sys/devices/system/cpu"
POLICIES = f"{CPUS}/cpufreq/policy*"
CPU_FOLDERS = f"{CPUS}/cpu*/cpufreq"
DEVFREQ = "/sys/class/devfreq/*"
# Milli of full load: JetPack 4 and 5 have the first, JetPack 6 the second.
GPU_LOADS = ("/sys/devices/gpu.0/load", "/sys/devices/platform/gpu.0/load")
GPU_NAMES = re.compile(r"gpu|gv11b|ga10b|gp10b|mali|v3d", re.IGNORECASE)
SWITCHED_OFF = -100_000  # m°C: what a zone reads whose part is off

READS = (
    *(f"{ZONES}/{name}" for name in ("type", "temp")),
    *(f"{POLICIES}/{name}" for name in ("affected_cpus", "scaling_governor")),
    *(f"{folder}/scaling_{kind}_freq" for folder in (POLICIES, CPU_FOLDERS) for kind in
      ("cur", "min", "max")),
    f"{CPU_FOLDERS}/scaling_governor",
    *(f"{DEVFREQ}/{kind}_freq" for kind in ("cur", "min", "max")),
    *GPU_LOADS,
    *throttling.READS,
    *power.READS,
    "/var/lib/nvpmodel/status",
    "/etc/nvpmodel.conf",
    "/proc/loadavg",
    "/proc/meminfo",
)  # fmt: skip
"""The files that `read` reads, as patterns: what to ask a board for."""


def files_here() -> Tree:
    """This machine's files, or those below the folder that `ROOT` names."""
    return Tree(os.environ.get(ROOT, ""))


def read(files: Files | None = None) -> Telemetry:
    """Reads a board's state.

    Args:
        files: the board; None: this machine (`files_here`).
    """
    files = files or files_here()
    slowed = throttling.read(files)
    rails, watts = power.read(files)
    clocks = cpu_clocks(files)
    gpu, gpu_load = _gpu(files)
    load = found(files, "/proc/loadavg", r"^([0-9.]+)")
    return Telemetry(
        zones=zones(files),
        clocks=clocks,
        governor=_governor(files),
        gpu=gpu,
        gpu_load=gpu_load,
        throttled_by=slowed.by,
        throttle_count=slowed.count,
        rails=rails,
        watts=watts,
        power_mode=power_mode(files),
        load_1min=None if load is None else float(load),
        memory_bytes=_kilobytes(files, "MemTotal"),
        memory_available_bytes=_kilobytes(files, "MemAvailable"),
    )


def zones(files: Files) -> tuple[Zone, ...]:
    """The thermal zones."""
    read_zones = []
    for folder in files.glob(ZONES):
        name, value = files.text(f"{folder}/type"), whole(files, f"{folder}/temp")
        # The PMIC zone of a Jetson Nano always reads 100 C.
        if name is None or value is None or name.startswith("PMIC") or value < SWITCHED_OFF:
            continue
        read_zones.append(Zone(name, round(value / 1000, 1)))
    return tuple(read_zones)


def cpu_clocks(files: Files) -> tuple[Clock, ...]:
    """The clock of each group of CPUs that share one; without such groups, of each CPU."""
    clocks = []
    for folder in files.glob(POLICIES):
        cpus = (files.text(f"{folder}/affected_cpus") or folder.rpartition("policy")[2]).split()
        clocks += _clock(files, f"{folder}/scaling_", [int(cpu) for cpu in cpus if cpu.isdigit()])
    if not clocks:
        for folder in files.glob(CPU_FOLDERS):
            cpu = folder.split("/")[-2][3:]
            if cpu.isdigit():
                clocks += _clock(files, f"{folder}/scaling_", [int(cpu)])
    return tuple(clocks)


def _clock(files: Files, prefix: str, cpus: list[int], scale: int = 1) -> list[Clock]:
    now, low, high = (whole(files, f"{prefix}{kind}_freq") for kind in ("cur", "min", "max"))
    if now is None or low is None or high is None:
        return []
    return [Clock(tuple(cpus), now // scale, low // scale, high // scale)]


def _governor(files: Files) -> str | None:
    return files.text(f"{CPUS}/cpu0/cpufreq/scaling_governor") or files.text(
        f"{CPUS}/cpufreq/policy0/scaling_governor"
    )


def _gpu(files: Files) -> tuple[Clock | None, float | None]:
    """devfreq counts in Hz."""
    devices = [path for path in files.glob(DEVFREQ) if GPU_NAMES.search(path.rpartition("/")[2])]
    clock = [each for path in devices for each in _clock(files, f"{path}/", [], 1000)]
    loads = [value for path in GPU_LOADS if (value := whole(files, path)) is not None]
    return (clock[0] if clock else None), (loads[0] / 1000 if loads else None)


def power_mode(files: Files) -> str | None:
    """nvpmodel's mode: its name if the table is there, otherwise its number."""
    mode = found(files, "/var/lib/nvpmodel/status", r"pmode:0*(\d+)")
    if mode is None:
        return None
    return found(files, "/etc/nvpmodel.conf", rf"< POWER_MODEL ID={mode} NAME=(\S+)") or mode


def _kilobytes(files: Files, name: str) -> int | None:
    text = found(files, "/proc/meminfo", rf"^{name}:\s+(\d+)")
    return None if text is None else int(text) * 1024
