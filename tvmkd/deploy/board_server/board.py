"""What the board tells of its state, with the names and sources of tvmkd's other servers."""

import fnmatch
import glob
import os
import re
from typing import Dict, List, Optional, Tuple

THERMAL = "/sys/class/thermal"
CPUS = "/sys/devices/system/cpu"
HWMON = "/sys/class/hwmon/hwmon*"
GPUS = ("*gpu*", "*gv11b*", "*ga10b*", "*gp10b*", "*mali*", "*v3d*")
INPUT_RAILS = ("VDD_IN", "POM_5V_IN", "5V_IN", "VIN")
MONITORS = ("ina3221", "ina2xx", "ina219", "ina226", "ina260")
BITS = ("under-voltage", "capped frequency", "throttled", "soft temperature limit")
Samples = List[Tuple[Dict[str, str], float]]


def board_root() -> str:
    """The folder that stands for the machine, in tests."""
    return os.environ.get("TVMKD_BOARD_ROOT", "").rstrip("/")


def file_text(path: str) -> Optional[str]:
    """A file's content without the blanks around it; None if it cannot be read."""
    try:
        with open(board_root() + path, errors="replace") as file:
            return file.read().strip("\0\n\t ")
    except OSError:
        return None


def file_number(path: str) -> Optional[int]:
    """A file's whole number."""
    found = file_text(path)
    return int(found) if found is not None and re.fullmatch(r"-?\d+", found) else None


def file_paths(pattern: str) -> List[str]:
    """The paths that match; numbers sort by value."""
    found = [path[len(board_root()) :] for path in glob.glob(board_root() + pattern)]
    return sorted(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path)])


def temperatures() -> Samples:
    """°C of each zone. A Jetson Nano's PMIC always reads 100 C; parts that are off read less."""
    found: Samples = []
    for zone in file_paths(THERMAL + "/thermal_zone*"):
        name, value = file_text(zone + "/type"), file_number(zone + "/temp")
        if name is None or value is None or name.startswith("PMIC") or value < -100000:
            continue
        found.append(({"zone": name}, round(value / 1000, 1)))
    return found


def cpu_clocks(kind: str) -> Samples:
    """Hz of each CPU: ``cur`` or ``max``."""
    found: Samples = []
    for folder in file_paths(CPUS + "/cpufreq/policy*"):
        names = file_text(folder + "/affected_cpus") or folder.rpartition("policy")[2]
        value = file_number("%s/scaling_%s_freq" % (folder, kind))
        if value is not None:
            found += [({"cpu": name}, 1000.0 * value) for name in names.split()]
    if not found:
        for folder in file_paths(CPUS + "/cpu*/cpufreq"):
            value = file_number("%s/scaling_%s_freq" % (folder, kind))
            if value is not None:
                found.append(({"cpu": folder.split("/")[-2][3:]}, 1000.0 * value))
    return found


def throttling() -> Optional[List[str]]:
    """The signs that something slows the clocks down; None: the board shows none."""
    signs: Dict[str, bool] = {}
    for folder in file_paths(THERMAL + "/cooling_device*"):
        kind, state = file_text(folder + "/type") or "", file_number(folder + "/cur_state")
        slows = kind.startswith(("thermal-cpufreq", "cpufreq", "tegra-")) or "throttle" in kind
        if slows and state is not None:
            signs[kind] = signs.get(kind, False) or state > 0
    for path in file_paths("/sys/devices/platform/soc*/soc*:firmware/get_throttled"):
        word = file_text(path) or ""
        if re.fullmatch(r"(0x)?[0-9a-fA-F]+", word):
            signs.update((name, bool(int(word, 16) >> bit & 1)) for bit, name in enumerate(BITS))
    return [name for name, on in signs.items() if on] if signs else None


def rails() -> Tuple[Samples, Optional[float]]:
    """Watts of each measured supply, and of the whole board."""
    own: List[Tuple[str, float]] = []
    parts: List[Tuple[str, float]] = []
    meters: List[Tuple[str, float]] = []
    folders = file_paths("/sys/bus/iio/devices/iio:device*")
    for folder in folders + file_paths("/sys/bus/i2c/drivers/ina3221x/*/iio:device*"):
        for channel in range(8):
            name = file_text("%s/rail_name_%d" % (folder, channel))
            milliwatts = file_number("%s/in_power%d_input" % (folder, channel))
            if name and milliwatts is not None and name not in [known for known, _ in own]:
                own.append((name, milliwatts / 1000))
    for folder in file_paths(HWMON):
        kind = file_text(folder + "/name") or ""
        place = own if kind.startswith(MONITORS) else meters if kind == "power_meter" else parts
        place += [rail for rail in (channel_of(folder, kind, n) for n in range(8)) if rail]
    found = own + parts + meters
    fed = [watts for name, watts in found if name.upper() in INPUT_RAILS]
    measured = own or meters
    total = fed[0] if fed else sum(watts for _, watts in measured) if measured else None
    return [({"rail": name}, watts) for name, watts in found], total


def channel_of(folder: str, kind: str, channel: int) -> Optional[Tuple[str, float]]:
    """A channel of hwmon: it gives its power, or voltage and current."""
    for ending in ("input", "average"):
        microwatts = file_number("%s/power%d_%s" % (folder, channel, ending))
        if microwatts is not None:
            label = file_text("%s/power%d_label" % (folder, channel))
            return label or kind or os.path.basename(folder), microwatts / 1e6
    name = file_text("%s/in%d_label" % (folder, channel))
    volts = file_number("%s/in%d_input" % (folder, channel))
    amperes = file_number("%s/curr%d_input" % (folder, channel))
    if not name or volts is None or amperes is None:
        return None
    if file_text("%s/in%d_enable" % (folder, channel)) == "0":
        return None
    return name, round(volts * amperes / 1e6, 4)


def board_gauges() -> List[Tuple[str, str, Samples]]:
    """Every gauge: its name, what it says, samples by labels."""
    signs, (powers, total) = throttling(), rails()
    found: List[Tuple[str, str, Samples]] = [
        ("temperature_celsius", "Thermal zones.", temperatures()),
        ("cpu_clock_hertz", "Clocks of the CPUs.", cpu_clocks("cur")),
        ("cpu_clock_max_hertz", "What the clocks may be at most.", cpu_clocks("max")),
        ("power_watts", "Measured supplies.", powers),
        ("throttled", "1 for each sign of throttling that is on.",
         [({"sign": sign}, 1.0) for sign in signs or ()]),
    ]  # fmt: skip

    def single(name: str, about: str, value: Optional[float]) -> None:
        if value is not None:
            found.append((name, about, [({}, value)]))

    single("total_power_watts", "Power of the whole board.", total)
    if signs is not None:
        single("is_throttled", "1 if any sign of throttling is on.", float(bool(signs)))
    for folder in file_paths("/sys/class/devfreq/*"):
        if any(fnmatch.fnmatch(os.path.basename(folder).lower(), each) for each in GPUS):
            single("gpu_clock_hertz", "Clock of the GPU.", file_number(folder + "/cur_freq"))
            break
    for path in ("/sys/devices/gpu.0/load", "/sys/devices/platform/gpu.0/load"):
        load = file_number(path)
        if load is not None:
            single("gpu_load_ratio", "Load of the GPU, 0 to 1.", load / 1000)
            break
    average = re.match(r"[0-9.]+", file_text("/proc/loadavg") or "")
    if average:
        about = "Processes that run or wait, over a minute."
        single("load1", about, float(average.group()))
    for name, key, about in (("memory_bytes", "MemTotal", "Memory in all."),
                             ("memory_available_bytes", "MemAvailable",
                              "Memory that processes may take.")):  # fmt: skip
        size = re.search(r"^%s:\s+(\d+)" % key, file_text("/proc/meminfo") or "", re.M)
        if size:
            single(name, about, 1024.0 * int(size.group(1)))
    return [each for each in found if each[2]]


def throttle_events() -> Optional[int]:
    """How often the board was slowed down since it was started; None: it does not count."""
    patterns = (CPUS + "/cpu*/thermal_throttle/core_throttle_count",
                CPUS + "/cpu0/thermal_throttle/package_throttle_count",
                HWMON + "/oc*_event_cnt")  # fmt: skip
    counts = [file_number(path) for pattern in patterns for path in file_paths(pattern)]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def power_mode() -> Optional[str]:
    """nvpmodel's mode: its name if the table is there, otherwise its number."""
    mode = re.search(r"pmode:0*(\d+)", file_text("/var/lib/nvpmodel/status") or "")
    if not mode:
        return None
    pattern = r"< POWER_MODEL ID=%s NAME=(\S+)" % mode.group(1)
    name = re.search(pattern, file_text("/etc/nvpmodel.conf") or "")
    return name.group(1) if name else mode.group(1)
