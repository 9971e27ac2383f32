from __future__ import annotations

from pathlib import Path

import pytest

from tvmkd.distill.classification import ClassificationTask
from tvmkd.distill.results import Kind, Network, Result, Run


def run(kind: Kind, seed: int, score: float) -> Run:
    return Run(kind, seed, score, score, Path("out/students") / f"{kind}-{seed}.pt", 1.0)


def result(*runs: Run, teacher: Network | None = None) -> Result:
    student = Network("depthwise", 2_000_000, 10_000)
    paths = Path("student.pt"), Path("metrics.json")
    return Result(*paths, teacher, student, runs, runs[0], ClassificationTask.metrics)


def test_a_summary_is_of_each_kind_that_was_trained() -> None:
    found = result(run("distilled", 0, 0.9), run("distilled", 1, 0.8), run("baseline", 0, 0.7))
    assert found.accuracies("distilled") == [0.9, 0.8]
    scores = found.summary()
    assert scores["distilled"]["mean"] == pytest.approx(0.85)
    assert scores["distilled"]["std"] == pytest.approx(0.0707, abs=1e-4)
    assert scores["baseline"] == {"mean": 0.7, "std": 0.0, "min": 0.7, "max": 0.7, "count": 1}
    assert set(result(run("baseline", 0, 0.7)).summary()) == {"baseline"}


def test_lines_are_for_people() -> None:
    teacher = Network("residual", 30_000_000, 100_000, 0.98)
    lines = result(run("distilled", 0, 0.9), run("distilled", 1, 0.8), teacher=teacher).lines()
    assert [line.split() for line in lines] == [
        ["teacher", "residual", "30.00", "MMAC", "98.0%"],
        ["distilled", "depthwise", "2.00", "MMAC", "85.0%", "±", "7.1", "over", "2", "seeds"],
    ]


def test_a_run_names_its_checkpoint_inside_of_its_folder() -> None:
    data = run("distilled", 3, 0.5).to_dict(Path("out"))
    assert (data["checkpoint"], data["seed"]) == ("students/distilled-3.pt", 3)
