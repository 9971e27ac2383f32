"""Facts about this machine from /proc and /sys: architecture, CPU features, cores, governor."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Sequence
from pathlib import Path

# The features of the x86-64 psABI levels by the kernel's names (lzcnt is "abm" there).
X86_64_V3 = frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"})
X86_64_V4 = X86_64_V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
LEVEL_BELOW = {"x86-64-v4": "x86-64-v3"}
"""The CPU whose code, and schedules, a CPU can use too."""
VNNI = {"+avxvnni": "avx_vnni", "+avx512vnni": "avx512_vnni"}
"""The kernel's name of a feature by LLVM's."""

_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


def architecture() -> str:
    """The CPU architecture as in a target triple: ``x86_64``, ``aarch64``, …"""
    name = platform.machine().lower()
    return _ARCHITECTURES.get(name, name)


@functools.lru_cache(maxsize=1)
def _cpuinfo() -> list[dict[str, str]]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    blocks = []
    for block in text.strip().split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        blocks.append({key.strip(): value.strip() for key, _, value in pairs})
    return blocks


def cpu_model() -> str:
    """The processor's name, or its architecture if the kernel gives none."""
    for block in _cpuinfo():
        for key in ("model name", "Model", "Hardware"):
            if block.get(key):
                return block[key]
    return architecture()


def cpu_features() -> frozenset[str]:
    """The CPU's feature flags by the kernel's names (``avx2``, ``asimd``); empty if unknown."""
    for block in _cpuinfo():
        flags = block.get("flags") or block.get("Features")
        if flags:
            return frozenset(flags.split())
    return frozenset()


def required_features(mcpu: str, attributes: Sequence[str] = ()) -> frozenset[str]:
    """The CPU flags that code needs; empty for what is unknown.

    Args:
        mcpu: the CPU that it is compiled for.
        attributes: further ones, as in ``mattr``: ``+avxvnni``.
    """
    level = {"x86-64-v3": X86_64_V3, "x86-64-v4": X86_64_V4}.get(mcpu, frozenset())
    return level | {VNNI[name] for name in attributes if name in VNNI}


def physical_cores() -> int:
    """Physical cores that this process may use (at least 1)."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    cores = set()
    for number, block in enumerate(_cpuinfo()):
        if allowed is not None and int(block.get("processor", number)) not in allowed:
            continue
        if "core id" in block:
            cores.add((block.get("physical id", "0"), block["core id"]))
    if cores:
        return len(cores)
    return len(allowed) if allowed else os.cpu_count() or 1


def governor() -> str | None:
    """The frequency governor of the first core; None if there is none, as on virtual CPUs."""
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None


def memory_bytes() -> tuple[int, int] | None:
    """Total and available memory in bytes, or None if /proc does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    table = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines if ":" in line}
    if "MemTotal" not in table or "MemAvailable" not in table:
        return None
    return table["MemTotal"], table["MemAvailable"]
