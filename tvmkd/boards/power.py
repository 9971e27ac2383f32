"""What a board draws, by the sensors that the kernel shows: watts of each rail and of the board."""

from __future__ import annotations

from dataclasses import dataclass

from tvmkd.boards.sysfs import Files, whole

# L4T 32 (JetPack 4): the driver ina3221x, an industrial-I/O device; its power is in milliwatts.
IIO = "/sys/bus/iio/devices/iio:device*"
IIO_OLD = "/sys/bus/i2c/drivers/ina3221x/*/iio:device*"
# JetPack 5 and mainline: hwmon. Voltages are in mV, currents in mA, power in uW.
HWMON = "/sys/class/hwmon/hwmon*"
CHANNELS = range(8)
INPUT_RAILS = frozenset({"VDD_IN", "POM_5V_IN", "5V_IN", "VIN"})
"""Rails that feed the whole board: Orin and Xavier NX, Nano and TX2."""
SENSORS = ("ina3221", "ina2xx", "ina219", "ina226", "ina260")
METERS = ("power_meter",)

READS = (
    *(f"{folder}/rail_name_*" for folder in (IIO, IIO_OLD)),
    *(f"{folder}/in_power*_input" for folder in (IIO, IIO_OLD)),
    f"{HWMON}/name",
    *(f"{HWMON}/{name}" for name in ("in*_label", "in*_input", "in*_enable", "curr*_input")),
    *(f"{HWMON}/{name}" for name in ("power*_input", "power*_average", "power*_label")),
)
"""The files that `read` reads."""


@dataclass(frozen=True)
class Rail:
    """One measured supply: its name on the board, and watts."""

    name: str
    watts: float


def read(files: Files) -> tuple[tuple[Rail, ...], float | None]:
    """The rails, and the watts of the whole board.

    The board's are those of the rail that feeds it; without one, the sum over a board's own power
    monitors (an AGX measures each consumer), or a power meter's. A GPU's or a CPU's sensor alone
    says nothing of the board: then the sum is None.
    """
    iio = _iio(files)
    sensors, others, meters = _hwmon(files)
    rails = tuple(iio + sensors + others + meters)
    fed = [rail.watts for rail in rails if rail.name.upper() in INPUT_RAILS]
    if fed:
        return rails, fed[0]
    measured = iio + sensors or meters
    return rails, round(sum(rail.watts for rail in measured), 3) if measured else None


def _iio(files: Files) -> list[Rail]:
    found: dict[str, Rail] = {}
    for folder in files.glob(IIO) + files.glob(IIO_OLD):  # both lead to the same device
        for channel in CHANNELS:
            name = files.text(f"{folder}/rail_name_{channel}")
            milliwatts = whole(files, f"{folder}/in_power{channel}_input")
            if name and milliwatts is not None:
                found.setdefault(name, Rail(name, milliwatts / 1000))
    return list(found.values())


def _hwmon(files: Files) -> tuple[list[Rail], list[Rail], list[Rail]]:
    """The rails of a board's own monitors, of parts, and of power meters."""
    sensors: list[Rail] = []
    others: list[Rail] = []
    meters: list[Rail] = []
    for folder in files.glob(HWMON):
        kind = files.text(f"{folder}/name") or ""
        found = [
            rail
            for channel in CHANNELS
            if (rail := _direct(files, folder, kind, channel) or _product(files, folder, channel))
        ]
        place = sensors if kind.startswith(SENSORS) else meters if kind in METERS else others
        place += found
    return sensors, others, meters


def _direct(files: Files, folder: str, kind: str, channel: int) -> Rail | None:
    """A channel that gives its power."""
    for ending in ("input", "average"):
        microwatts = whole(files, f"{folder}/power{channel}_{ending}")
        if microwatts is not None:
            label = files.text(f"{folder}/power{channel}_label")
            return Rail(label or kind or folder.rpartition("/")[2], microwatts / 1e6)
    return None


def _product(files: Files, folder: str, channel: int) -> Rail | None:
    """A channel that gives voltage and current, and has a name: INA3221 has three of these."""
    name = files.text(f"{folder}/in{channel}_label")
    millivolts = whole(files, f"{folder}/in{channel}_input")
    milliamperes = whole(files, f"{folder}/curr{channel}_input")
    if not name or millivolts is None or milliamperes is None:
        return None
    if files.text(f"{folder}/in{channel}_enable") == "0":
        return None
    return Rail(name, round(millivolts * milliamperes / 1e6, 4))
