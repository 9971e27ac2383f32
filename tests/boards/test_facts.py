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
