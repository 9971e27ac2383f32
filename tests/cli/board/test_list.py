"""``tvmkd board list``: of real boards, and each line of its output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_nano
import pytest

from tvmkd.boards import inventory
from tvmkd.boards.connect import request
from tvmkd.boards.fleet import Fleet, running_fleet

KEYS = [
    {
        "key": "nano",
        "free": 2,
        "total": 3,
        "waiting": 1,
        "boards": [
            {
                "host": "10.0.0.7",
                "port": 9090,
                "facts": {"model": "NVIDIA Jetson Nano", "cpu": "A57", "machine": "aarch64"},
            },
            {
                "host": "10.0.0.8",
                "port": 9090,
                "facts": {"cpu": "A57", "libc": "glibc 2.27", "tvm": "0.27", "celsius": 46.6},
            },
            {
                "host": "10.0.0.8",
                "port": 9091,
                "facts": {"model": "x", "emulated": True, "emulator": "qemu-aarch64 -cpu max"},
            },
            {
                "host": "10.0.0.9",
                "port": 9090,
                "facts": {"celsius": 0.0, "throttled": True},
            },
            {"host": "10.0.0.9", "port": 9091, "facts": {"error": "no answer"}},
            {"host": "10.0.0.9", "port": 9092},
        ],
    }
]
LINES = """nano: 2 free of 3, 1 waiting
  10.0.0.7:9090   NVIDIA Jetson Nano, aarch64
  10.0.0.8:9090   A57, glibc 2.27, TVM 0.27, 47 °C
  10.0.0.8:9091   EMULATED qemu-aarch64 -cpu max
  10.0.0.9:9090   says nothing of itself, 0 °C throttled
  10.0.0.9:9091   does not answer: no answer
  10.0.0.9:9092   busy, or not asked
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls of the inventory, which finds `KEYS`."""
    calls: list[Any] = []

    def call(*address: Any, **options: Any) -> list[dict[str, Any]]:
        calls.append((address, options))
        return KEYS

    monkeypatch.setattr(inventory, "call", call)
    for name in ("TVM_TRACKER_HOST", "TVM_TRACKER_PORT"):
        monkeypatch.delenv(name, raising=False)
    return calls


def test_a_line_for_each_board(tvmkd: Any, asked: list[Any]) -> None:
    done = tvmkd("board", "list")
    assert (done.code, done.out) == (0, LINES)
    assert asked == [(("127.0.0.1", 9190), {"only": None, "ask": True})]


def test_the_options_reach_the_inventory(tvmkd: Any, asked: list[Any]) -> None:
    argv = ["--rpc-tracker", "10.0.0.1:9191", "--rpc-key", "nano", "--no-facts", "--json"]
    done = tvmkd("board", "list", *argv)
    assert json.loads(done.out) == {"tracker": "10.0.0.1:9191", "keys": KEYS}
    assert asked == [(("10.0.0.1", 9191), {"only": "nano", "ask": False})]


def test_the_tracker_of_the_environment(
    tvmkd: Any, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TVM_TRACKER_HOST", "10.0.0.3")
    monkeypatch.setenv("TVM_TRACKER_PORT", "9999")
    tvmkd("board", "list")
    assert asked[0][0] == ("10.0.0.3", 9999)


@pytest.fixture
def nanos(tmp_path: Path) -> Iterator[Fleet]:
    root = str(fake_nano.plant(tmp_path / "root", celsius=47.0))
    with running_fleet(2, key="nano", root=root) as running:
        yield running


@pytest.mark.rpc
def test_a_list_tells_free_boards_from_busy_ones(tvmkd: Any, nanos: Fleet) -> None:
    address = f"{nanos.host}:{nanos.port}"
    lines = tvmkd("board", "list", "--rpc-tracker", address).out.splitlines()
    assert lines[0] == "nano: 2 free of 2, 0 waiting"
    assert all("NVIDIA Jetson Nano Developer Kit" in line and "47 °C" in line for line in lines[1:])
    request(nanos.host, nanos.port, "nano", timeout=10)  # takes one and does not come
    lines = tvmkd("board", "list", "--rpc-tracker", address, "--rpc-key", "nano").out.splitlines()
    assert lines[0] == "nano: 1 free of 2, 0 waiting"
    assert sum("busy, or not asked" in line for line in lines) == 1
    done = tvmkd("board", "list", "--rpc-tracker", address, "--rpc-key", "other")
    assert (done.code, "no board is registered" in done.out) == (0, True)
