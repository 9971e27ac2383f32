from __future__ import annotations

import pytest

from tvmkd.boards import throttling
from tvmkd.boards.sysfs import Listing

COOLING = "/sys/class/thermal/cooling_device{}"
HWMON = "/sys/class/hwmon/hwmon{}"


def test_nothing_is_known_without_a_sign() -> None:
    assert throttling.read(Listing({})) == throttling.Throttling(None, None)


def test_the_devices_that_slow_clocks_are_named() -> None:
    files = {}
    for number, (kind, state) in enumerate(
        [("thermal-cpufreq-0", "2"), ("pwm-fan", "3"), ("tegra-cpu", "0"), ("tegra-cpu", "1")]
    ):
        files[f"{COOLING.format(number)}/type"] = kind
        files[f"{COOLING.format(number)}/cur_state"] = state
    assert throttling.read(Listing(files)).by == ("thermal-cpufreq-0", "tegra-cpu")


@pytest.mark.parametrize(
    "folder",
    [
        "/sys/devices/platform/soc/soc:firmware",
        "/sys/devices/platform/soc@107c000000/soc@107c000000:firmware",
    ],
)
@pytest.mark.parametrize(
    ("word", "by"),
    [
        ("0", ()),
        ("50000", ()),
        ("0x50005", ("under-voltage", "throttled")),
        ("a", ("capped frequency", "soft temperature limit")),
        ("", None),
        ("what", None),
    ],
)
def test_a_raspberrys_word(folder: str, word: str, by: tuple[str, ...] | None) -> None:
    assert throttling.read(Listing({f"{folder}/get_throttled": word})).by == by


@pytest.mark.parametrize(
    ("name", "alarm", "by"),
    [("rpi_volt", "1", ("under-voltage",)), ("rpi_volt", "0", ()), ("other", "1", None)],
)
def test_a_raspberrys_voltage_alarm(name: str, alarm: str, by: tuple[str, ...] | None) -> None:
    files = {f"{HWMON.format(1)}/name": name, f"{HWMON.format(1)}/in0_lcrit_alarm": alarm}
    assert throttling.read(Listing(files)).by == by


def test_counts_are_added_up() -> None:
    cpu = "/sys/devices/system/cpu/cpu{}/thermal_throttle"
    files = {
        f"{cpu.format(0)}/core_throttle_count": "3",
        f"{cpu.format(1)}/core_throttle_count": "4",
        f"{cpu.format(0)}/package_throttle_count": "10",
        f"{cpu.format(1)}/package_throttle_count": "10",  # the same package's
        f"{HWMON.format(2)}/oc1_event_cnt": "1",
        f"{HWMON.format(2)}/oc3_event_cnt": "2",
    }
    assert throttling.read(Listing(files)) == throttling.Throttling(None, 20)
