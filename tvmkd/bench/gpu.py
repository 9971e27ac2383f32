"""Clocks, temperature and power of an NVIDIA GPU, read by nvidia-smi, a part of its driver.

It is called between turns only: it briefly uses a CPU and the driver's locks.

The driver does not report whether the clocks are locked. They count as locked if the SM clock was
the same at every reading, idle and busy, and either the driver reports a clock setting, or the
clock stayed below its maximum without another reason for throttling.
"""

from __future__ import annotations

import subprocess
from typing import Any

from tvmkd.bench import schema

TIMEOUT_S = 20.0
FIELDS = {
    "name": "name",
    "driver": "driver_version",
    "sm_mhz": "clocks.sm",
    "memory_mhz": "clocks.mem",
    "max_sm_mhz": "clocks.max.sm",
    "temperature_c": "temperature.gpu",
    "power_w": "power.draw",
    "power_limit_w": "power.limit",
}
WORDS = ("name", "driver")
REASONS = ("clocks_throttle_reasons.active", "clocks_event_reasons.active")
"""The older name and the one since R535; what a driver does not know it refuses as a whole."""

BY_SETTING = 0x2
SLOWED = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""NVML's bits (nvmlClocksEventReasons) for what takes clocks down unasked."""


class Watch:
    """Readings of one GPU in the course of a comparison. Make it before the first engine starts.

    Args:
        uuid: the GPU's UUID, ``GPU-...``; None: the first GPU that nvidia-smi lists.
    """

    def __init__(self, uuid: str | None = None) -> None:
        self._uuid = uuid
        self._readings: list[dict[str, Any]] = []
        self._before = before(uuid)

    def look(self) -> None:
        """Adds a reading, if nvidia-smi returns one."""
        now = read(self._uuid)
        if now is not None:
            self._readings.append(now)

    def summary(self) -> schema.Gpu | None:
        """Summarises all readings; None if there are none."""
        if not self._readings:
            return None
        first = self._readings[0]
        reasons = [now["reasons"] or 0 for now in self._readings]
        slowed = [text for bit, text in SLOWED.items() if any(reason & bit for reason in reasons)]
        clocks = {now["sm_mhz"] for now in self._readings}
        below = first["sm_mhz"] is not None and first["sm_mhz"] < (first["max_sm_mhz"] or 0)
        held = any(reason & BY_SETTING for reason in reasons) or (below and not slowed)
        series = ("sm_mhz", "memory_mhz", "temperature_c", "power_w")
        told: dict[str, Any] = {name: first[name] for name in FIELDS}
        told.update({name: [now[name] for now in self._readings] for name in series})
        steady = len(self._readings) > 1 and len(clocks) == 1 and None not in clocks
        return schema.Gpu(**told, **self._before, slowed_by=slowed, locked=steady and held)


def read(uuid: str | None = None) -> dict[str, Any] | None:
    """One reading: the names of `FIELDS`, and ``reasons``, NVML's bits.

    Values that the GPU does not report are None. Returns None if nvidia-smi is missing or fails.
    """
    for reasons in REASONS:
        (cells, *_) = _cells(f"--query-gpu={','.join([*FIELDS.values(), reasons])}", uuid) or [[]]
        if len(cells) == len(FIELDS) + 1:
            told = dict(zip(FIELDS, cells, strict=False))
            found: dict[str, Any] = {
                name: _word(text) if name in WORDS else _number(text) for name, text in told.items()
            }
            return {**found, "reasons": _bits(cells[-1])}
    return None


def before(uuid: str | None = None) -> dict[str, Any]:
    """Who uses the GPU already: ``busy_before`` (%), ``others`` and ``mig``, as in `schema.Gpu`.

    What nvidia-smi does not tell is None, or empty. In a container it names no processes.
    """
    # One by one: an older driver refuses a query with a field that it does not know.
    busy, mig = (_first(f"--query-gpu={field}", uuid) for field in BEFORE)
    named = _cells("--query-compute-apps=pid,process_name", uuid)
    return {
        "busy_before": _number(busy),
        "mig": mig == "Enabled" if mig in ("Enabled", "Disabled") else None,
        "others": [f"{', '.join(name)} ({pid})" for pid, *name in named if name],
    }


BEFORE = ("utilization.gpu", "mig.mode.current")


def _first(query: str, uuid: str | None) -> str:
    """The only value of an answer; empty if there is none."""
    return next((cells[0] for cells in _cells(query, uuid)), "")


def _cells(query: str, uuid: str | None) -> list[list[str]]:
    """The lines of an answer of nvidia-smi; none if it fails."""
    chosen = [] if uuid is None else [f"--id={uuid}"]
    try:
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader,nounits", *chosen],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode:
        return []
    lines = done.stdout.strip().splitlines()
    return [[cell.strip() for cell in line.split(",")] for line in lines]


def _word(text: str) -> str | None:
    return None if text.startswith("[") else text


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _bits(text: str) -> int | None:
    try:
        return int(text, 16)
    except ValueError:
        return None
