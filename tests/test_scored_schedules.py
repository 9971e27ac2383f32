"""Schedules chosen by a score: the choice, the score's own benchmark, and what ships."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import by_path
import pytest

from tvmkd import targets
from tvmkd.stacks.compile import shipped_records
from tvmkd.tuning import records
from tvmkd.tuning.session import SCORE, read_info

sys.path.append(str(by_path.ROOT / "benchmarks"))  # it imports what all benchmarks share
make: Any = by_path.module("benchmarks/make_scored_schedules.py", "maker_of_scored_schedules")
bench: Any = by_path.module("benchmarks/bench_score.py", "benchmark_of_the_score")
SCORED = [name for name in make.MACHINES if shipped_records(targets.load(name)) is not None]
SCORED.remove("x86-64-v3")


def space(*configs: dict[str, Any], legal: bool = True) -> Any:
    """A space whose members are their numbers."""
    return SimpleNamespace(configs=configs, member=lambda n: f"member {n}" if legal else None)


def test_schedules_without_threads_are_scored_where_there_are_such() -> None:
    both = space({"parallel": True, "c": 1}, {"parallel": False, "c": 1}, {"c": 2})
    assert list(make.serial(both)) == [(1, "member 1"), (2, "member 2")]
    only = space({"parallel": True})
    assert list(make.serial(only)) == [(0, "member 0")]
    assert list(make.serial(space({"c": 1}, legal=False))) == []


def test_threads_are_taken_where_they_pay() -> None:
    configs = (
        {"parallel": False, "steps": 8, "expected": 5},
        {"parallel": True, "steps": 2, "expected": 1},
        {"parallel": True, "steps": 8, "expected": 2},
    )
    made = space(*configs)
    assert make.with_threads(made, 0, 1e6, 4) == "member 2", "the one with the same tile"
    assert make.with_threads(made, 0, 12e3, 4) == "member 0", "starting them takes as long"
    assert make.with_threads(made, 0, 1e6, 1) == "member 0"
    assert make.with_threads(space(configs[0]), 0, 1e6, 4) == "member 0"


def test_outputs_of_two_schedules_are_compared() -> None:
    assert make.alike([0.5, 2.0], [0.5 + 1e-4, 2.0])
    assert not make.alike([0.5, 2.0], [0.51, 2.0])
    assert not make.alike([math.nan, 2.0], [0.5, 2.0])


def test_another_target_gives_the_first_and_the_two_best(tmp_path: Path) -> None:
    line = {"task": "0x1", "key": "a", "figure": 1.0, "wall": 1.0}
    tried = [[30, "first"], [20, "second"], [10, "third"], [40, "fourth"]]
    records.append_line(tmp_path / records.TRIALS, {**line, "tried": tried})
    assert make.best_of(tmp_path) == {records.normal_key("0x1"): {"first", "second", "third"}}


def _row(kernel: int, timed: float, cycles: float) -> dict[str, Any]:
    return {"kernel": kernel, "timed": timed, "cycles": cycles, "instructions": -cycles,
            "mca": cycles, "l1_misses": cycles}  # fmt: skip


def test_the_correlations_of_the_score() -> None:
    rows = [_row(1, t, t) for t in (1, 2, 3, 4)] + [_row(2, 10 * t, 50 - t) for t in (1, 2, 3, 4)]
    found = {result.name: result for result in bench.results(rows)}
    within = found["Spearman within a kernel (mean): score and time"]
    assert within.ratios == pytest.approx([1.0, -1.0])
    assert within.ratio == pytest.approx(0.0)
    assert not within.holds
    assert found["the same: instructions alone"].ratio == pytest.approx(0.0)
    whole = found["Spearman over all: score and time"].ratio
    assert 0.7 < whole < 1.0
    loss = found["time of the best score over the fastest (geometric mean)"]
    assert loss.ratios == pytest.approx([1.0, 4.0])


@pytest.mark.parametrize("name", SCORED)
def test_what_ships_is_marked_and_names_its_kernels(name: str) -> None:
    folder = shipped_records(targets.load(name))
    assert folder is not None
    info = read_info(folder)
    assert info is not None
    assert info["evaluator"] == SCORE
    assert info["boards"] == []
    assert "never timed" in info["statistic"]
    assert info["target"]["name"] == name
    known = records.best([folder])
    named = {records.normal_key(task["key"]) for task in info["tasks"]}
    assert len(known) >= 100
    assert known.keys() <= named
    tuned = {records.normal_key(task["key"]) for task in info["tasks"] if task["trials"]}
    assert known.keys() == tuned
    assert json.dumps(info["target"]["cpu"]) == json.dumps(targets.load(name).to_dict()["cpu"])
