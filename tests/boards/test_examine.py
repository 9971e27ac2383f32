from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_nano
import pytest

from tvmkd import targets
from tvmkd.boards import examine, match
from tvmkd.boards.facts import facts

NANO = targets.load("jetson-nano")


def examined(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {check.name: (check.status, check.fix) for check in examine.examine(NANO, found)}


@pytest.fixture
def nano(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a Nano that was just switched on would say."""
    monkeypatch.setenv("TVMKD_BOARD_ROOT", str(fake_nano.plant(tmp_path)))
    monkeypatch.delenv("TVM_NUM_THREADS", raising=False)
    return {**facts(), "machine": "aarch64", "libc": "glibc 2.27", "tvm": match._tvm_here()}


def test_a_nano_fresh_from_the_box_is_told_how_to_hold_still(nano: dict[str, Any]) -> None:
    found = examined(nano)
    assert found["fit"] == ("ok", "")
    assert found["power mode"] == ("warn", "sudo nvpmodel -m 0")
    assert found["governor"] == ("warn", "sudo jetson_clocks")
    assert found["clocks"] == ("warn", "sudo jetson_clocks")
    assert found["heat"] == ("ok", "")
    assert found["threads"] == ("warn", "start the server with TVM_NUM_THREADS=4")


def test_a_nano_that_holds_still_has_nothing_to_mend(nano: dict[str, Any]) -> None:
    locked = [{"cpu": cpu, "now": 1479000, "min": 1479000, "max": 1479000} for cpu in range(4)]
    found = examined({**nano, "nvpmodel": "MAXN", "clocks_khz": locked, "tvm_num_threads": 4})
    assert {status for status, _ in found.values()} == {"ok"}


def test_heat_and_a_wrong_board_fail(nano: dict[str, Any]) -> None:
    assert examined({**nano, "throttled": True})["heat"][0] == "fail"
    assert examined({**nano, "celsius": 85.0})["heat"][0] == "warn"
    assert examined({**nano, "machine": "x86_64"})["fit"][0] == "fail"
    assert examined({**nano, "memory_available_bytes": 1 << 20})["memory"][0] == "warn"
