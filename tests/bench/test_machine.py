from __future__ import annotations

import os
from pathlib import Path

import pytest

from tvmkd.bench import machine


def test_facts_and_weather_are_what_the_schema_takes() -> None:
    facts, weather = machine.facts(), machine.weather()
    assert facts["cpus"] == len(os.sched_getaffinity(0))
    assert facts["cpu"]
    assert weather["load_1min"] >= 0


def _cpu(root: Path, number: int, siblings: str, capacity: int | None = None) -> None:
    folder = root / f"cpu{number}"
    (folder / "topology").mkdir(parents=True)
    (folder / "topology/thread_siblings_list").write_text(siblings + "\n")
    if capacity is not None:
        (folder / "cpu_capacity").write_text(f"{capacity}\n")


def test_one_cpu_per_core_before_siblings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        _cpu(tmp_path, number, f"{number % 2},{number % 2 + 2}")
    monkeypatch.setattr(machine, "CPUS", tmp_path)
    monkeypatch.setattr(machine, "available_cpus", lambda: [0, 1, 2, 3])
    assert machine.choose_cpus(2) == [2, 3]
    assert machine.choose_cpus(3) == [1, 2, 3]


def test_big_cores_before_little_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        _cpu(tmp_path, number, str(number), 1024 if number < 2 else 446)
    monkeypatch.setattr(machine, "CPUS", tmp_path)
    monkeypatch.setattr(machine, "available_cpus", lambda: list(range(6)))
    assert machine.choose_cpus(2) == [0, 1]
    assert machine.choose_cpus(3) == [0, 1, 5]


def test_own_work_is_not_work_elsewhere() -> None:
    if not Path("/proc/stat").exists():
        pytest.skip("no /proc/stat here")
    start = machine.work_elsewhere(os.getpid())
    own = os.times().user
    while os.times().user - own < 0.3:
        sum(range(10_000))
    end = machine.work_elsewhere(os.getpid())
    assert start is not None
    assert end is not None
    # Others may have worked meanwhile, on every CPU; our 0.3 s must not be among it.
    total = machine._text(Path("/proc/stat"))
    assert total is not None
    assert end - start >= -0.05


def test_a_process_that_is_gone_gives_none() -> None:
    assert machine.work_elsewhere(2**22 + 1) is None
