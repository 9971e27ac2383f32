from __future__ import annotations

import fnmatch
from pathlib import Path

import fake_nano
import pytest

from tvmkd.boards import telemetry
from tvmkd.boards.board_state import Clock, Telemetry, Zone
from tvmkd.boards.sysfs import Listing, Tree

POLICY = "/sys/devices/system/cpu/cpufreq/policy{}"


def test_a_nano_tells_everything(tmp_path: Path) -> None:
    found = telemetry.read(Tree(fake_nano.plant(tmp_path)))
    assert found.zones == (Zone("AO-therm", 39.0), Zone("CPU-therm", 41.5))
    assert found.clocks[3] == Clock((3,), 921600, 102000, 1479000)
    assert (found.governor, found.power_mode) == ("schedutil", "5W")
    assert found.gpu == Clock((), 76800, 76800, 921600)
    assert found.gpu_load == 0.125
    assert (found.throttled, found.throttle_count) == (False, None)
    assert found.watts == 2.346
    assert [rail.name for rail in found.rails] == list(fake_nano.RAILS)
    assert found.load_1min == 0.52
    assert found.memory_available_bytes == 2900000 * 1024
    fake_nano.plant(tmp_path, celsius=88.2, throttled=True)
    hot = telemetry.read(Tree(tmp_path))
    assert (hot.celsius, hot.throttled_by) == (88.2, ("thermal-cpufreq-0",))


def test_a_board_that_tells_nothing() -> None:
    assert telemetry.read(Listing({})) == Telemetry()


def test_the_environment_names_the_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(telemetry.ROOT, str(fake_nano.plant(tmp_path)))
    assert telemetry.read().power_mode == "5W"


def test_every_file_that_is_read_is_in_the_list(tmp_path: Path) -> None:
    asked: set[str] = set()

    class Watched(Tree):
        def text(self, path: str) -> str | None:
            asked.add(path)
            return super().text(path)

    fake_nano.plant(tmp_path)
    policy = tmp_path / POLICY.format(0)[1:]
    policy.mkdir(parents=True)
    for folder in ("class/hwmon/hwmon0", "devices/platform/soc/soc:firmware"):
        (tmp_path / "sys" / folder).mkdir(parents=True)
    telemetry.read(Watched(tmp_path))
    assert [
        path for path in asked if not any(fnmatch.fnmatch(path, p) for p in telemetry.READS)
    ] == []
    listed = {
        path: Tree(tmp_path).text(path) or ""
        for p in telemetry.READS
        for path in Tree(tmp_path).glob(p)
    }
    assert telemetry.read(Listing(listed)) == telemetry.read(Tree(tmp_path))


def test_cpus_that_share_a_clock_are_one_group() -> None:
    files = {}
    for number, cpus in ((0, "0 1 2 3"), (4, "4 5")):
        files[f"{POLICY.format(number)}/affected_cpus"] = cpus
        for kind, khz in (("cur", 1000 + number), ("min", 500), ("max", 2000)):
            files[f"{POLICY.format(number)}/scaling_{kind}_freq"] = str(khz)
            files[f"/sys/devices/system/cpu/cpu{number}/cpufreq/scaling_{kind}_freq"] = str(khz)
    assert telemetry.cpu_clocks(Listing(files)) == (
        Clock((0, 1, 2, 3), 1000, 500, 2000),
        Clock((4, 5), 1004, 500, 2000),
    )


@pytest.mark.parametrize(
    "name", ["57000000.gpu", "17000000.gv11b", "17000000.ga10b", "fb000000.gpu"]
)
def test_the_gpu_is_known_by_its_device(name: str) -> None:
    files = {
        f"/sys/class/devfreq/{device}/{kind}_freq": str(hz)
        for device, hz in (("13e10000.host1x", 1), (name, 921600000))
        for kind in ("cur", "min", "max")
    }
    assert telemetry.read(Listing(files)).gpu == Clock((), 921600, 921600, 921600)


@pytest.mark.parametrize(
    ("status", "conf", "mode"),
    [
        ("pmode:0000 fmode:quiet", "< POWER_MODEL ID=0 NAME=MAXN >", "MAXN"),
        ("pmode:0010", "< POWER_MODEL ID=1 NAME=5W >\n< POWER_MODEL ID=10 NAME=7W >", "7W"),
        ("pmode:0008", "", "8"),
        ("", "< POWER_MODEL ID=0 NAME=MAXN >", None),
    ],
)
def test_the_power_mode_has_its_name(status: str, conf: str, mode: str | None) -> None:
    files = Listing({"/var/lib/nvpmodel/status": status, "/etc/nvpmodel.conf": conf})
    assert telemetry.power_mode(files) == mode


def test_a_zone_whose_part_is_off_is_left_out() -> None:
    zone = "/sys/class/thermal/thermal_zone{}"
    files = {
        f"{zone.format(number)}/{name}": text
        for number, kind, milli in ((0, "cpu", "40000"), (1, "off", "-256000"), (2, "cv", "error"))
        for name, text in (("type", kind), ("temp", milli))
    }
    assert telemetry.zones(Listing(files)) == (Zone("cpu", 40.0),)
