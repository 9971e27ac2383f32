"""How often engines are started, how rounds are shared, and who drops out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_process
import numpy as np
import pytest
import toys

from tvmkd.bench import CompareOptions, Comparison, EngineSpec, compare, rules


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Any, ...]]:
    """What `compare` asks of engine processes that are not there."""
    toys.onnx_file(tmp_path / "m.onnx", shape=("n", 8))
    monkeypatch.chdir(tmp_path)
    return fake_process.plant(monkeypatch)


def compared(*specs: EngineSpec, **options: Any) -> Comparison:
    method = CompareOptions(**{"threads": 1, "dims": {"n": 1}, **options})
    return compare(specs, "m.onnx", options=method)


def story(log: list[tuple[Any, ...]]) -> str:
    """Starts (S), turns (the name) and ends (E) of the engines, without the reference."""
    marks = {"start": "S", "time": "", "close": "E"}
    return " ".join(
        marks[call[0]] + call[1] for call in log if call[0] in marks and call[1] != "reference"
    )


def test_each_start_has_its_rounds_and_no_two_starts_run_at_once(log: list[Any]) -> None:
    made = compared(*map(fake_process.engine, "ab"), rounds=4, processes=2)
    assert story(log) == "Sa Sb a b b a Eb Ea " + "Sa Sb a b b a Eb Ea"
    assert (made.method.processes, made.method.rounds) == (2, 4)
    for engine in made.engines:
        assert engine.process_rounds == [2, 2]
        assert [len(rounds) for rounds in engine.processes()] == [2, 2]
        assert engine.ci95[0] <= engine.p50 <= engine.ci95[1]


def test_the_seconds_are_shared_by_all_rounds(log: list[Any]) -> None:
    made = compared(fake_process.engine("a"), seconds=3, rounds=10, processes=3)
    assert made.method.rounds == 12
    asked = {call[2:] for call in log if call[0] == "time"}
    assert asked == {(250, 1.0)}


def test_environments_have_other_sizes(log: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = fake_process.FakeProcess.__init__

    def start(self: Any, *args: Any, padding: int = 0) -> None:
        seen.append(padding)
        real(self, *args, padding=padding)

    monkeypatch.setattr(fake_process.FakeProcess, "__init__", start)
    compared(*map(fake_process.engine, "ab"), rounds=2, processes=4)
    first = seen[1:]  # without the reference
    assert len(set(first)) == len(first) == 8
    seen.clear()
    compared(*map(fake_process.engine, "ab"), rounds=2, processes=4)
    assert seen[1:] == first, "the same seed"
    compared(*map(fake_process.engine, "ab"), rounds=2, processes=4, seed=1)
    assert seen[10:] != first


def test_who_fails_in_a_later_process_is_left_out_of_all(log: list[Any]) -> None:
    made = compared(
        fake_process.engine("a"),
        fake_process.engine("b", fails_at_start=1),
        fake_process.engine("c", fails_in="facts"),
        rounds=2,
        processes=3,
    )
    assert [engine.name for engine in made.engines] == ["a"]
    assert sorted(item.name for item in made.left_out) == ["b", "c"]
    assert made.engines[0].process_rounds == [2, 2, 2]
    assert story(log).count("Sc") == 1
    assert story(log).count("Sb") == 2


def test_nothing_is_started_again_where_nobody_is_left(log: list[Any]) -> None:
    made = compared(fake_process.engine("a", fails_in="prepare"), processes=3)
    assert made.engines == []
    assert story(log) == "Sa Ea Ea"


@pytest.mark.parametrize(
    ("took", "processes"), [(0.001, 10), (1.0, 10), (2.0, 5), (2.6, 3), (100.0, 3)]
)
def test_the_longer_a_start_the_fewer_there_are(took: float, processes: int) -> None:
    specs = [fake_process.engine(name) for name in "ab"]
    assert rules.processes(specs, CompareOptions(seconds=5.0), took) == processes
    assert rules.processes(specs, CompareOptions(processes=2), took) == 2
    assert rules.processes(specs, CompareOptions(builds=2), took) == 1
    board = EngineSpec("tvm", "tvm@board")
    assert rules.processes([board], CompareOptions(), took) == 1


def test_rounds_are_even_in_each_process() -> None:
    found = [rules.rounds_of_each(rounds, count) for rounds, count in ((10, 3), (10, 10), (4, 1))]
    assert found == [4, 2, 4]


def test_processes_that_differ_make_a_wide_interval(
    log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    effects: dict[int, float] = {}

    def time(self: Any, count: int, limit_s: float) -> list[float]:
        effect = effects.setdefault(id(self), float(np.exp(rng.normal(0, 0.05))))
        return list(effect * np.exp(rng.normal(0, 0.001, count)))

    monkeypatch.setattr(fake_process.FakeProcess, "time", time)
    made = compared(*map(fake_process.engine, "ab"), rounds=6, processes=3)
    (pair,) = made.verdict.pairs
    assert not pair.decided
    assert pair.ci95[0] < 1 < pair.ci95[1]
    assert all(engine.ci95[1] / engine.ci95[0] > 1.01 for engine in made.engines)
