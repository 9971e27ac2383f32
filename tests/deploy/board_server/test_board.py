"""`test_serve_file` compares all with `tvmkd serve`; here what a Nano has not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tvmkd.boards import power, sysfs, throttling
from tvmkd.deploy.board_server import board

PLANTED = {
    "sys/class/hwmon/hwmon0/name": "ina3221",
    "sys/class/hwmon/hwmon0/in1_label": "VDD_GPU",
    "sys/class/hwmon/hwmon0/in1_input": "5000",
    "sys/class/hwmon/hwmon0/curr1_input": "300",
    "sys/class/hwmon/hwmon0/in2_label": "OFF",
    "sys/class/hwmon/hwmon0/in2_input": "5000",
    "sys/class/hwmon/hwmon0/curr2_input": "300",
    "sys/class/hwmon/hwmon0/in2_enable": "0",
    "sys/class/hwmon/hwmon1/name": "amdgpu",
    "sys/class/hwmon/hwmon1/power1_average": "2500000",
    "sys/class/hwmon/hwmon2/oc1_event_cnt": "4",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005",
    "sys/class/thermal/cooling_device0/type": "pwm-fan",
    "sys/class/thermal/cooling_device0/cur_state": "3",
}


@pytest.fixture(autouse=True)
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sysfs.Tree:
    for name, text in PLANTED.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("TVMKD_BOARD_ROOT", str(tmp_path))
    return sysfs.Tree(tmp_path)


def test_power_is_what_tvmkd_reads(planted: sysfs.Tree) -> None:
    found, total = board.rails()
    rails, watts = power.read(planted)
    assert [(labels["rail"], value) for labels, value in found] == [
        (rail.name, rail.watts) for rail in rails
    ]
    assert total == watts == 1.5


def test_throttling_is_what_tvmkd_reads(planted: sysfs.Tree) -> None:
    wanted = throttling.read(planted)
    assert board.throttling() == list(wanted.by or ()) == ["under-voltage", "throttled"]
    assert board.throttle_events() == wanted.count == 4
