"""The files of a Jetson Nano that a server reads, planted below a folder (TVMKD_BOARD_ROOT)."""

from __future__ import annotations

from pathlib import Path

CPUFREQ = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_{}"
INA = "sys/bus/iio/devices/iio:device0"
GPU = "sys/class/devfreq/57000000.gpu"
RAILS = {"POM_5V_IN": 2346, "POM_5V_GPU": 40, "POM_5V_CPU": 512}
"""Milliwatts, by the names that a Nano's rails have on L4T 32."""
FILES = {
    "proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit",
    "proc/cpuinfo": "processor : 0\nCPU implementer : 0x41\nCPU part\t: 0xd07\n",
    "proc/meminfo": "MemTotal:        4059504 kB\nMemAvailable:    2900000 kB\n",
    "proc/sys/kernel/random/boot_id": "11111111-2222-3333-4444-555555555555",
    "etc/nv_tegra_release": "# R32 (release), REVISION: 7.4, GCID: 33514132, BOARD: t210ref\n",
    "var/lib/nvpmodel/status": "pmode:0001 fmode:quiet",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=5W >\n",
    "usr/local/cuda/version.txt": "CUDA Version 10.2.300\n",
    "usr/lib/aarch64-linux-gnu/libnvinfer.so.8": "",
    "usr/lib/aarch64-linux-gnu/libnvinfer.so.8.2.1": "",
    "sys/class/thermal/thermal_zone0/type": "AO-therm",
    "sys/class/thermal/thermal_zone1/type": "CPU-therm",
    "sys/class/thermal/thermal_zone2/type": "PMIC-Die",
    "sys/class/thermal/thermal_zone2/temp": "100000",
    "sys/class/thermal/cooling_device0/type": "thermal-cpufreq-0",
    **{CPUFREQ.format(cpu, "min_freq"): "102000" for cpu in range(4)},
    **{CPUFREQ.format(cpu, "max_freq"): "1479000" for cpu in range(4)},
    **{CPUFREQ.format(cpu, "cur_freq"): "921600" for cpu in range(4)},
    CPUFREQ.format(0, "governor"): "schedutil",
    f"{GPU}/cur_freq": "76800000",
    f"{GPU}/min_freq": "76800000",
    f"{GPU}/max_freq": "921600000",
    "sys/devices/gpu.0/load": "125",
    **{f"{INA}/rail_name_{number}": name for number, name in enumerate(RAILS)},
    **{f"{INA}/in_power{number}_input": str(mw) for number, mw in enumerate(RAILS.values())},
    "proc/loadavg": "0.52 0.58 0.59 1/389 12345",
}


def plant(root: Path, celsius: float = 41.5, throttled: bool = False) -> Path:
    """Writes the files; again with other arguments, it heats or cools the board."""
    heat = {
        "sys/class/thermal/thermal_zone0/temp": str(int(celsius * 1000) - 2500),
        "sys/class/thermal/thermal_zone1/temp": str(int(celsius * 1000)),
        "sys/class/thermal/cooling_device0/cur_state": str(int(throttled)),
    }
    for name, text in {**FILES, **heat}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
