from __future__ import annotations

from pathlib import Path

import pytest

from tvmkd.boards import power
from tvmkd.boards.power import Rail
from tvmkd.boards.sysfs import Listing, Tree

IIO = "/sys/bus/iio/devices/iio:device0"
OLD = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
HWMON = "/sys/class/hwmon/hwmon{}"


def read(files: dict[str, str]) -> tuple[dict[str, float], float | None]:
    rails, watts = power.read(Listing(files))
    return {rail.name: rail.watts for rail in rails}, watts


def iio(folder: str, rails: dict[str, int]) -> dict[str, str]:
    files = {f"{folder}/name": "ina3221x"}
    for number, (name, milliwatts) in enumerate(rails.items()):
        files[f"{folder}/rail_name_{number}"] = name
        files[f"{folder}/in_power{number}_input"] = str(milliwatts)
    return files


def ina3221(number: int, rails: dict[str, tuple[int, int]]) -> dict[str, str]:
    """Millivolts and milliamperes of each rail, as JetPack 5 shows them."""
    folder = HWMON.format(number)
    files = {f"{folder}/name": "ina3221"}
    for channel, (name, (volts, amperes)) in enumerate(rails.items(), 1):
        files[f"{folder}/in{channel}_label"] = name
        files[f"{folder}/in{channel}_input"] = str(volts)
        files[f"{folder}/curr{channel}_input"] = str(amperes)
        files[f"{folder}/in{channel + 3}_input"] = "1"  # the shunt's voltage, which has no label
    files[f"{folder}/in7_label"] = "sum of shunt voltages"
    files[f"{folder}/in7_input"] = "3"
    return files


def test_a_nano_tells_what_feeds_it() -> None:
    found = read(iio(IIO, {"POM_5V_IN": 2346, "POM_5V_GPU": 40, "POM_5V_CPU": 512}))
    assert found == ({"POM_5V_IN": 2.346, "POM_5V_GPU": 0.04, "POM_5V_CPU": 0.512}, 2.346)


def test_one_device_is_counted_once_under_both_its_paths() -> None:
    rails = {"A": 1000, "B": 500}
    assert read({**iio(IIO, rails), **iio(OLD, rails)}) == ({"A": 1.0, "B": 0.5}, 1.5)
    assert read(iio(OLD, rails)) == ({"A": 1.0, "B": 0.5}, 1.5)


def test_volts_times_amperes_on_jetpack_5() -> None:
    rails = {"VDD_IN": (4968, 1000), "VDD_CPU_GPU_CV": (4960, 200), "VDD_SOC": (4960, 300)}
    watts, total = read(ina3221(3, rails))
    assert watts == {"VDD_IN": 4.968, "VDD_CPU_GPU_CV": 0.992, "VDD_SOC": 1.488}
    assert total == 4.968


def test_a_board_without_an_input_rail_is_the_sum_of_its_monitors() -> None:
    first = ina3221(3, {"VDD_GPU_SOC": (19000, 100), "VDD_CPU_CV": (19000, 50)})
    second = ina3221(4, {"VDDQ": (5000, 200)})
    cpu = {f"{HWMON.format(0)}/name": "fam15h_power", f"{HWMON.format(0)}/power1_input": "9000000"}
    watts, total = read({**first, **second, **cpu})
    assert total == pytest.approx(1.9 + 0.95 + 1.0)
    assert watts["fam15h_power"] == 9.0


def test_a_channel_that_is_off_is_left_out() -> None:
    files = ina3221(3, {"A": (5000, 100), "B": (5000, 100)})
    files[f"{HWMON.format(3)}/in2_enable"] = "0"
    assert read(files) == ({"A": 0.5}, 0.5)


@pytest.mark.parametrize(
    ("files", "rails", "total"),
    [
        ({"name": "power_meter", "power1_average": "45000000"}, {"power_meter": 45.0}, 45.0),
        ({"name": "ina226", "power1_input": "1500000"}, {"ina226": 1.5}, 1.5),
        # A graphics card's power is not the board's.
        (
            {"name": "amdgpu", "power1_label": "PPT", "power1_average": "5000000"},
            {"PPT": 5.0},
            None,
        ),
        ({"name": "ina226", "power1_input": "no"}, {}, None),
        # Volts alone are no power, and a voltage without a name is some chip's.
        ({"name": "nct6775", "in1_label": "Vcore", "in1_input": "900"}, {}, None),
        ({"name": "nct6775", "in1_input": "900", "curr1_input": "3"}, {}, None),
    ],
)
def test_other_sensors(files: dict[str, str], rails: dict[str, float], total: float | None) -> None:
    planted = {f"{HWMON.format(0)}/{name}": text for name, text in files.items()}
    assert read(planted) == (rails, total)


def test_no_sensor_no_watts() -> None:
    assert power.read(Listing({})) == ((), None)
    assert Rail("a", 1.0) == Rail("a", 1.0)


def test_every_file_that_is_read_is_in_the_list(tmp_path: Path) -> None:
    meter = {f"{HWMON.format(1)}/name": "power_meter", f"{HWMON.format(1)}/power1_average": "9"}
    part = {
        f"{HWMON.format(2)}/name": "gpu",
        f"{HWMON.format(2)}/power1_input": "8",
        f"{HWMON.format(2)}/power1_label": "PPT",
    }
    files = {**iio(IIO, {"A": 1}), **iio(OLD, {"B": 2}), **ina3221(3, {"C": (5000, 100)})}
    files |= {**meter, **part, f"{HWMON.format(3)}/in1_enable": "1"}
    for name, text in files.items():
        (tmp_path / name[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name[1:]).write_text(text)
    board = Tree(tmp_path)
    listed = {path: board.text(path) or "" for p in power.READS for path in board.glob(p)}
    assert power.read(Listing(listed)) == power.read(board)
    assert [rail.name for rail in power.read(board)[0]] == ["A", "B", "C", "PPT", "power_meter"]


@pytest.mark.parametrize("name", ["VDD_IN", "POM_5V_IN", "5V_IN", "VIN", "vdd_in"])
def test_rails_that_feed_the_board(name: str) -> None:
    assert read(iio(IIO, {"A": 1000, name: 700}))[1] == 0.7


@pytest.mark.parametrize("kind", ["ina3221", "ina2xx", "ina219", "ina226", "ina260"])
def test_monitors_of_boards(kind: str) -> None:
    files = {f"{HWMON.format(0)}/name": kind, f"{HWMON.format(0)}/power1_input": "1500000"}
    assert read(files) == ({kind: 1.5}, 1.5)
