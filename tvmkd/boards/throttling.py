"""Whether a board slows its clocks down, and why: by its own signs in /sys."""

from __future__ import annotations

from dataclasses import dataclass

from tvmkd.boards.sysfs import Files, whole

COOLING = "/sys/class/thermal/cooling_device*"
FIRMWARE = "/sys/devices/platform/soc*/soc*:firmware/get_throttled"
HWMON = "/sys/class/hwmon/hwmon*"
VOLTAGE_SENSOR = "rpi_volt"  # a Raspberry Pi's, whose alarm newer kernels have instead
CORE_COUNTS = "/sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count"
PACKAGE_COUNT = "/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
OVER_CURRENT = f"{HWMON}/oc*_event_cnt"  # soctherm_oc of JetPack 5

READS = (
    f"{COOLING}/type",
    f"{COOLING}/cur_state",
    FIRMWARE,
    f"{HWMON}/name",
    f"{HWMON}/in0_lcrit_alarm",
    CORE_COUNTS,
    PACKAGE_COUNT,
    OVER_CURRENT,
)
"""The files that `read` reads."""

# The bits of now of a Raspberry Pi's firmware; those from 16 on tell of the time since the start.
BITS = ("under-voltage", "capped frequency", "throttled", "soft temperature limit")


@dataclass(frozen=True)
class Throttling:
    """What slows a board down.

    Attributes:
        by: the signs that are on now; None if the board shows none of them.
        count: how often it was slowed down since it was started (Intel's CPUs, Jetson's
            over-current protection); None if it does not count.
    """

    by: tuple[str, ...] | None
    count: int | None


def read(files: Files) -> Throttling:
    """Looks at every sign that is known."""
    signs = {**_cooling(files), **_firmware(files)}
    counts = [
        number
        for path in (*files.glob(CORE_COUNTS), PACKAGE_COUNT, *files.glob(OVER_CURRENT))
        if (number := whole(files, path)) is not None
    ]
    return Throttling(
        tuple(name for name, on in signs.items() if on) if signs else None,
        sum(counts) if counts else None,
    )


def _cooling(files: Files) -> dict[str, bool]:
    """Of each cooling device that slows a clock, not of a fan: whether it does."""
    found: dict[str, bool] = {}
    for folder in files.glob(COOLING):
        kind, state = files.text(f"{folder}/type"), whole(files, f"{folder}/cur_state")
        slows = kind is not None and (
            kind.startswith(("thermal-cpufreq", "cpufreq", "tegra-")) or "throttle" in kind
        )
        if slows and state is not None:
            found[str(kind)] = found.get(str(kind), False) or state > 0
    return found


def _firmware(files: Files) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for path in files.glob(FIRMWARE):
        try:
            word = int(files.text(path) or "", 16)
        except ValueError:
            continue
        found |= {name: bool(word >> bit & 1) for bit, name in enumerate(BITS)}
    for folder in files.glob(HWMON):
        alarm = whole(files, f"{folder}/in0_lcrit_alarm")
        if alarm is not None and files.text(f"{folder}/name") == VOLTAGE_SENSOR:
            found[BITS[0]] = found.get(BITS[0], False) or alarm > 0
    return found
