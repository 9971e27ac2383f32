from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from tvmkd.base import machine

# Two sockets, two cores each, two threads a core: what /proc/cpuinfo says of four real cores.
BLOCKS = [
    {"processor": str(number), "physical id": str(number // 4), "core id": str(number // 2 % 2)}
    for number in range(8)
]


@pytest.fixture
def eight_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cpuinfo", lambda: BLOCKS)


@pytest.mark.usefixtures("eight_threads")
@pytest.mark.parametrize(
    ("allowed", "cores"), [(set(range(8)), 4), ({0, 1}, 1), ({0, 2}, 2), ({0, 4}, 2)]
)
def test_threads_of_one_core_count_once(
    monkeypatch: pytest.MonkeyPatch, allowed: set[int], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed)
    assert machine.physical_cores() == cores


def test_without_core_ids_the_allowed_processors_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cpuinfo", lambda: [{"processor": "0"}, {"processor": "1"}])
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert machine.physical_cores() == 2


def test_this_machine_is_read() -> None:
    assert 1 <= machine.physical_cores() <= (os.cpu_count() or 1)
    assert machine.architecture() in {platform.machine(), "x86_64", "aarch64"}
    if Path("/proc/meminfo").exists():
        memory = machine.memory_bytes()
        assert memory is not None
        assert 0 < memory[1] <= memory[0]


def test_v4_requires_all_features_of_v3() -> None:
    assert machine.required_features("x86-64-v3") < machine.required_features("x86-64-v4")
    assert machine.required_features("cortex-a57", ["+neon"]) == frozenset()


def test_vnni_is_required_where_the_target_names_it() -> None:
    plain = machine.required_features("x86-64-v3")
    assert machine.required_features("x86-64-v3", ["+avxvnni"]) - plain == {"avx_vnni"}
    assert machine.required_features("x86-64-v4", ["+avx512vnni"]) >= {"avx512_vnni", *plain}
