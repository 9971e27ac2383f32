from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import fake_nano
import pytest

from tvmkd.boards.facts import facts, telemetry


@pytest.mark.parametrize(("value", "expected"), [("3", 3), (None, None), ("many", None)])
def test_threads_come_from_the_environment(
    value: str | None, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TVM_NUM_THREADS", raising=False)
    if value is not None:
        monkeypatch.setenv("TVM_NUM_THREADS", value)
    assert facts()["tvm_num_threads"] == expected


def test_the_machine_is_this_one() -> None:
    found = facts()
    assert json.loads(json.dumps(found)) == found
    assert found["machine"] == platform.machine()
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["memory_bytes"] > 1 << 28
    assert found["cpu"]


def test_a_nano_is_known_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVMKD_BOARD_ROOT", str(fake_nano.plant(tmp_path)))
    found = facts(delay=0.5)
    assert found["model"] == "NVIDIA Jetson Nano Developer Kit"
    assert (found["cpu"], found["governor"]) == ("Cortex-A57", "schedutil")
    assert (found["l4t"], found["nvpmodel"]) == ("R32.7.4", "5W")
    assert (found["cuda"], found["tensorrt"]) == ("10.2.300", "8.2.1")
    assert found["memory_bytes"] == 4059504 * 1024
    assert found["clocks_khz"][3] == {"cpu": 3, "now": 921600, "min": 102000, "max": 1479000}
    assert (found["celsius"], found["throttled"]) == (41.5, False)
    assert found["declared_delay_s"] == 0.5
    fake_nano.plant(tmp_path, celsius=88.2, throttled=True)
    assert (telemetry()["celsius"], telemetry()["throttled"]) == (88.2, True)


COOLING = "sys/class/thermal/cooling_device{}"
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"


def plant(root: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("TVMKD_BOARD_ROOT", str(root))


@pytest.mark.parametrize(
    ("word", "throttled"),
    [
        ("0", False),
        ("0x0", False),
        ("50000", False),  # it was throttled since it was started, and is not now
        ("0xf0000", False),
        ("10", False),
        ("1", True),
        ("2", True),
        ("4", True),
        ("8", True),
        ("50005", True),
    ],
)
def test_only_the_bits_of_now_count_in_a_firmwares_word(
    word: str, throttled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, {FIRMWARE: word + "\n"}, monkeypatch)
    assert telemetry()["throttled"] is throttled


@pytest.mark.parametrize(
    ("devices", "throttled"),
    [
        ([], None),
        ([("pwm-fan", "3")], None),
        ([("thermal-cpufreq-0", "0")], False),
        ([("thermal-cpufreq-0", "1")], True),
        ([("cpufreq-cpu0", "2")], True),
        ([("tegra-cpu", "1")], True),
        ([("gpu-throttle", "1")], True),
        ([("thermal-cpufreq-0", "0"), ("cpufreq-cpu4", "2")], True),
        ([("thermal-cpufreq-0", "2"), ("cpufreq-cpu4", "0")], True),
        ([("thermal-cpufreq-0", "0"), ("pwm-fan", "9")], False),
        ([("thermal-cpufreq-0", "unknown")], None),
    ],
)
def test_a_device_that_slows_the_clock_down_tells_and_a_fan_does_not(
    devices: list[tuple[str, str]],
    throttled: bool | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {}
    for number, (kind, state) in enumerate(devices):
        files[f"{COOLING.format(number)}/type"] = kind
        files[f"{COOLING.format(number)}/cur_state"] = state
    plant(tmp_path, files, monkeypatch)
    assert telemetry()["throttled"] is throttled


@pytest.mark.parametrize(
    ("state", "word", "throttled"), [("0", "1", True), ("1", "0", True), ("0", "50000", False)]
)
def test_either_of_two_signs_is_enough(
    state: str, word: str, throttled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = COOLING.format(0)
    files = {f"{device}/type": "thermal-cpufreq-0", f"{device}/cur_state": state, FIRMWARE: word}
    plant(tmp_path, files, monkeypatch)
    assert telemetry()["throttled"] is throttled


def test_the_hottest_zone_counts_in_degrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = "sys/class/thermal/thermal_zone{}"
    files = {}
    for number, (kind, milli) in enumerate(
        [("cpu", "45250"), ("gpu", "61000"), ("PMIC-Die", "100000"), ("cold", "-5000")]
    ):
        files[f"{zone.format(number)}/type"] = kind
        files[f"{zone.format(number)}/temp"] = milli
    files[f"{zone.format(9)}/type"] = "says nothing"
    plant(tmp_path, files, monkeypatch)
    found = telemetry()
    assert found["celsius"] == 61.0
    assert found["thermal"] == [
        {"zone": "cpu", "celsius": 45.2},
        {"zone": "gpu", "celsius": 61.0},
        {"zone": "cold", "celsius": -5.0},
    ]


def test_a_machine_that_tells_nothing_has_no_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, {}, monkeypatch)
    found = facts()
    for name in ("model", "memory_bytes", "boot_id", "celsius", "throttled", "l4t", "cuda"):
        assert found[name] is None, name
    assert (found["thermal"], found["clocks_khz"]) == ([], [])
    assert found["declared_delay_s"] is None


def test_clocks_are_in_the_order_of_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {}
    for cpu in (0, 2, 10):
        for number, kind in enumerate(("cur", "min", "max")):
            name = f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_{kind}_freq"
            files[name] = str(100 * cpu + number)
    files["sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq"] = "1"  # no limits: left out
    plant(tmp_path, files, monkeypatch)
    assert telemetry()["clocks_khz"] == [
        {"cpu": 0, "now": 0, "min": 1, "max": 2},
        {"cpu": 2, "now": 200, "min": 201, "max": 202},
        {"cpu": 10, "now": 1000, "min": 1001, "max": 1002},
    ]
