from __future__ import annotations

from pathlib import Path

import fake_smi
import pytest

from tvmkd.bench import gpu

LOW = "G, 1, {mhz}, 5001, 2100, 60, 80.5, 250.00, {reasons}"


def _watched(
    folder: Path, patch: pytest.MonkeyPatch, *lines: str, uuid: str | None = fake_smi.UUID
) -> gpu.schema.Gpu:
    fake_smi.plant(folder, patch, lines)
    watch = gpu.Watch(uuid)
    for _ in lines:
        watch.look()
    found = watch.summary()
    assert found is not None
    return found


def test_readings_become_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _watched(tmp_path, monkeypatch, fake_smi.IDLE, fake_smi.BUSY)
    assert (found.name, found.driver) == ("NVIDIA Stand-in", "550.54.15")
    assert (found.sm_mhz, found.max_sm_mhz) == ([345.0, 1980.0], 1980.0)
    assert found.memory_mhz == [1593.0, 2619.0]
    assert found.temperature_c == [34.0, 51.0]
    assert (found.power_w, found.power_limit_w) == ([71.2, 402.75], 700.0)
    assert (found.slowed_by, found.locked) == ([], False)


@pytest.mark.parametrize(
    ("readings", "locked", "slowed"),
    [
        ([(1500, "0x2"), (1500, "0x2")], True, []),
        ([(1500, "0x1"), (1500, "0x0")], True, []),
        ([(1500, "0x1"), (1515, "0x2")], False, []),
        ([(2100, "0x1"), (2100, "0x0")], False, []),
        ([(2100, "0x1"), (2100, "0x2")], True, []),
        ([(1500, "0x4"), (1500, "0x4")], False, ["power cap"]),
        (
            [(2100, "0x0"), (900, "0x68")],
            False,
            ["hardware slowdown", "software thermal slowdown", "hardware thermal slowdown"],
        ),
        ([(1500, "0x2")], False, []),
    ],
)
def test_locked_is_a_clock_that_something_holds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    readings: list[tuple[int, str]],
    locked: bool,
    slowed: list[str],
) -> None:
    lines = [LOW.format(mhz=mhz, reasons=reasons) for mhz, reasons in readings]
    found = _watched(tmp_path, monkeypatch, *lines, uuid=None)
    assert (found.locked, found.slowed_by) == (locked, slowed)


def test_what_is_not_told_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "Orin, 540.4.0, [N/A], [Not Supported], [N/A], 44, [N/A], [N/A], [N/A]"
    found = _watched(tmp_path, monkeypatch, line, line)
    assert (found.sm_mhz, found.max_sm_mhz, found.power_w) == ([None, None], None, [None, None])
    assert (found.temperature_c, found.locked) == ([44.0, 44.0], False)


def test_either_name_of_the_reasons_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_smi.plant(tmp_path, monkeypatch, refused=gpu.REASONS[:1])
    found = gpu.read(fake_smi.UUID)
    assert found is not None
    assert found["reasons"] == 1


@pytest.mark.parametrize(
    ("before", "apps", "wanted"),
    [
        ("0, Disabled", (), (0.0, False, [])),
        (
            "93, Enabled",
            ("71, python", "80, trtexec"),
            (93.0, True, ["python (71)", "trtexec (80)"]),
        ),
        ("[N/A], [N/A]", (), (None, None, [])),
        ("4, refused", ("9, a, b",), (4.0, None, ["a, b (9)"])),
    ],
)
def test_who_uses_the_gpu_already(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    apps: tuple[str, ...],
    wanted: tuple[float | None, bool | None, list[str]],
) -> None:
    fake_smi.plant(tmp_path, monkeypatch, before=before, apps=apps)
    watch = gpu.Watch(fake_smi.UUID)
    watch.look()
    found = watch.summary()
    assert found is not None
    assert (found.busy_before, found.mig, found.others) == wanted


def test_without_nvidia_smi_or_the_gpu_there_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_smi.plant(tmp_path, monkeypatch)
    assert gpu.read("GPU-another") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    watch = gpu.Watch()
    watch.look()
    assert watch.summary() is None
