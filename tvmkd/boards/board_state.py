"""The state of a board as data, and as the JSON that board servers send."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from tvmkd.boards.power import Rail

T = TypeVar("T")


@dataclass(frozen=True)
class Zone:
    """A thermal zone: the kernel's name of it, and °C."""

    name: str
    celsius: float


@dataclass(frozen=True)
class Clock:
    """A clock in kHz, between what it may be set to.

    Attributes:
        cpus: the CPUs that run at it; empty for a GPU.
    """

    cpus: tuple[int, ...]
    now: int
    min: int
    max: int


@dataclass(frozen=True)
class Telemetry:
    """What a board tells of its state; None, or empty, where it does not tell.

    Attributes:
        zones: every thermal zone but those that are switched off or known to lie.
        clocks: of the CPUs, one for each group that shares a clock.
        governor: the frequency governor of the first CPU.
        gpu: the GPU's clock.
        gpu_load: 0 to 1.
        throttled_by: the signs of throttling that are on now.
        throttle_count: how often it throttled since it was started.
        rails: the watts of each measured supply.
        watts: of the whole board.
        power_mode: nvpmodel's, by name where its table is there.
        load_1min: processes that run or wait, over one minute.
        memory_bytes, memory_available_bytes: in all, and what processes may still take.
    """

    zones: tuple[Zone, ...] = ()
    clocks: tuple[Clock, ...] = ()
    governor: str | None = None
    gpu: Clock | None = None
    gpu_load: float | None = None
    throttled_by: tuple[str, ...] | None = None
    throttle_count: int | None = None
    rails: tuple[Rail, ...] = ()
    watts: float | None = None
    power_mode: str | None = None
    load_1min: float | None = None
    memory_bytes: int | None = None
    memory_available_bytes: int | None = None

    @property
    def celsius(self) -> float | None:
        """The hottest zone."""
        return max((zone.celsius for zone in self.zones), default=None)

    @property
    def throttled(self) -> bool | None:
        """Whether any sign of throttling is on now."""
        return None if self.throttled_by is None else bool(self.throttled_by)

    def throttled_since(self, earlier: Telemetry) -> bool | None:
        """Whether it throttles now, or has counted so since ``earlier``."""
        if self.throttle_count is None or earlier.throttle_count is None:
            return self.throttled
        return bool(self.throttled) or self.throttle_count > earlier.throttle_count

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe, by the names that board servers use: ``tvmkd.board.telemetry``."""
        clocks = [
            {"cpu": cpu, "now": clock.now, "min": clock.min, "max": clock.max}
            for clock in self.clocks
            for cpu in clock.cpus
        ]
        gpu = self.gpu
        return {
            "thermal": [{"zone": zone.name, "celsius": zone.celsius} for zone in self.zones],
            "clocks_khz": sorted(clocks, key=lambda clock: clock["cpu"]),
            "governor": self.governor,
            "gpu_khz": None if gpu is None else {"now": gpu.now, "min": gpu.min, "max": gpu.max},
            "gpu_load": self.gpu_load,
            "throttled": self.throttled,
            "throttled_by": None if self.throttled_by is None else list(self.throttled_by),
            "throttle_count": self.throttle_count,
            "rails": [{"rail": rail.name, "watts": rail.watts} for rail in self.rails],
            "watts": self.watts,
            "nvpmodel": self.power_mode,
            "load_1min": self.load_1min,
            "memory_bytes": self.memory_bytes,
            "memory_available_bytes": self.memory_available_bytes,
            "celsius": self.celsius,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Telemetry:
        """From what `to_dict` or a board server made; what is missing or malformed is not told."""
        throttled_by = data.get("throttled_by")
        if throttled_by is None and isinstance(data.get("throttled"), bool):
            throttled_by = ["throttled"] if data["throttled"] else []
        gpu = _each([data.get("gpu_khz")], lambda c: _wire_clock(c, ()))
        return cls(
            zones=_each(data.get("thermal"), lambda z: Zone(str(z["zone"]), float(z["celsius"]))),
            clocks=_each(data.get("clocks_khz"), lambda c: _wire_clock(c, (int(c["cpu"]),))),
            governor=_text(data, "governor"),
            gpu=gpu[0] if gpu else None,
            gpu_load=_number(data, "gpu_load"),
            throttled_by=None if throttled_by is None else _each(throttled_by, str),
            throttle_count=_whole(data, "throttle_count"),
            rails=_each(data.get("rails"), lambda r: Rail(str(r["rail"]), float(r["watts"]))),
            watts=_number(data, "watts"),
            power_mode=_text(data, "nvpmodel"),
            load_1min=_number(data, "load_1min"),
            memory_bytes=_whole(data, "memory_bytes"),
            memory_available_bytes=_whole(data, "memory_available_bytes"),
        )


def _each(rows: Any, made: Callable[[Any], T]) -> tuple[T, ...]:
    """``made`` of every row that has what it needs."""
    found_rows: list[T] = []
    for row in rows if isinstance(rows, list) else []:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            found_rows.append(made(row))
    return tuple(found_rows)


def _wire_clock(row: Mapping[str, Any], cpus: tuple[int, ...]) -> Clock:
    return Clock(cpus, int(row["now"]), int(row["min"]), int(row["max"]))


def _number(data: Mapping[str, Any], key: str) -> float | None:
    value: Any = data.get(key)
    return float(value) if type(value) in (int, float) else None


def _whole(data: Mapping[str, Any], key: str) -> int | None:
    value = _number(data, key)
    return None if value is None else int(value)


def _text(data: Mapping[str, Any], key: str) -> str | None:
    value = data.get(key)
    return value if isinstance(value, str) else None
