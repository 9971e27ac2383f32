from __future__ import annotations

import ctypes
from typing import Any

import pytest

from tvmkd.tensorrt import device


class Driver:
    """The calls of libcuda.so.1; each returns 0, or the given error."""

    def __init__(self, **errors: int) -> None:
        self._errors = errors

    def __getattr__(self, call: str) -> Any:
        def answer(*arguments: Any) -> int:
            if call == "cuDeviceGetCount":
                arguments[0]._obj.value = 1
            elif call == "cuDeviceGetName":
                arguments[0].value = b"NVIDIA Stand-in"
            elif call == "cuDeviceGetAttribute":
                arguments[0]._obj.value = {75: 8, 76: 6}[arguments[1]]
            elif call == "cuDeviceGetUuid":
                arguments[0]._obj[:] = range(16)
            elif call == "cuDriverGetVersion":
                arguments[0]._obj.value = 12040
            return self._errors.get(call, 0)

        return answer


def find(monkeypatch: pytest.MonkeyPatch, driver: Any) -> device.Gpu | None:
    def load(_name: str) -> Any:
        if driver is None:
            raise OSError("libcuda.so.1: cannot open shared object file")
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)
    return device.find.__wrapped__()


@pytest.mark.parametrize(
    ("text", "pattern_of", "release"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\nGCC version:",
            "/proc/driver/nvidia/version",
            "550.54.15",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build",
            "/proc/driver/nvidia/version",
            "570.86.10",
        ),
        (
            "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64",
            "/etc/nv_tegra_release",
            "R32.7.1",
        ),
        ("", "/etc/nv_tegra_release", "CUDA 12.4"),
    ],
)
def test_a_gpu_has_name_capability_and_driver(
    text: str, pattern_of: str, release: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "release"
    file.write_text(text)
    monkeypatch.setattr(
        device, "_DRIVER_FILES", {str(file): device._DRIVER_FILES[pattern_of], "/nowhere": "x"}
    )
    found = find(monkeypatch, Driver())
    uuid = "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert found == device.Gpu("NVIDIA Stand-in", "8.6", release, uuid)


@pytest.mark.parametrize(
    "driver", [None, Driver(cuInit=100), Driver(cuDeviceGetCount=3), Driver(cuDeviceGetName=1)]
)
def test_without_driver_or_gpu_there_is_none(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(monkeypatch, driver) is None
