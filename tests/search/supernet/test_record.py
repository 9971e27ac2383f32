from __future__ import annotations

from pathlib import Path

import pytest
import spaces
import supernets

from tvmkd.distill.results import Network
from tvmkd.search import results
from tvmkd.search.latency.prediction import Measured
from tvmkd.search.space import Space
from tvmkd.search.study.goal import Goal
from tvmkd.search.supernet.ranking import Judged
from tvmkd.search.supernet.record import Record
from tvmkd.search.supernet.winners import Tuned


@pytest.fixture
def record(tmp_path: Path) -> Record:
    asked = supernets.plan(tmp_path, budget="5ms", seed=4)
    space = Space.from_config(asked.cfg, spaces.TARGET)
    made = Record(asked, Goal("accuracy", 5.0), space, supernets.Known(), "accuracy")
    structures = [{"width.0": width, "width.1": 1.0, "kernel": 3} for width in (0.5, 1.0, 1.5, 2.0)]
    made.judged = [
        Judged("fast", structures[0], 1.0, 0.9, 1.1, 0.25, score=0.7, macs=10, parameters=20),
        Judged("good", structures[1], 4.0, 3.6, 4.4, score=0.8),
        Judged("slow", structures[2], 6.0, 5.4, 6.6),
        Judged("bad", structures[3], error="13 is unlucky"),
    ]
    return made


def tuned(record: Record, score: float) -> Tuned:
    path = record.plan.folder / "trials" / "a" / "student.pt"
    return Tuned(score, 0.85, 3, 7.0, path, 1)


def test_points_before_any_winner(record: Record) -> None:
    found = record.study()
    assert [point.state for point in found.points] == ["pruned", "pruned", "infeasible", "failed"]
    assert [point.number for point in found.points] == [0, 1, 2, 3]
    first = found.points[0]
    assert (first.accuracy, first.predicted, first.low, first.high) == (0.7, 1.0, 0.9, 1.1)
    assert (first.interpolated, first.macs, first.parameters) == (0.25, 10, 20)
    assert (first.epochs, first.checkpoint) == (0, None)
    assert found.points[3].error == "13 is unlucky"
    assert (found.winner, found.reference, found.complete) == (None, None, False)
    assert (found.method, found.unit, found.budget, found.seed) == ("supernet", "ms", 5.0, 4)
    assert found.table == {"made": "up"}
    assert set(found.space) == {"width.0", "width.1", "kernel"}
    assert found.teacher == {}


def test_a_winner_is_complete_with_its_own_scores(record: Record) -> None:
    record.tuned["good"] = tuned(record, 0.9)
    record.seconds = 100.0
    record.teacher = Network("residual", 5, 6, 0.95)
    point = record.study().points[1]
    assert (point.state, point.accuracy, point.test_accuracy) == ("complete", 0.9, 0.85)
    assert (point.epochs, point.seconds, point.seed) == (3, 7.0, 1)
    assert point.checkpoint == "trials/a/student.pt"
    found = record.study()
    # The networks that were not trained on do not count.
    assert found.winner == 1
    assert found.training_seconds == 107.0
    assert found.teacher == {"model": "residual", "accuracy": 0.95, "macs": 5, "parameters": 6}
    assert found.reference is not None


def test_a_measured_time_decides(record: Record) -> None:
    record.tuned = {"good": tuned(record, 0.9), "fast": tuned(record, 0.75)}
    record.measured = {"good": Measured(5.5e-3, 0.01, board_seconds=2.0)}
    found = record.write(complete=True)
    assert found.points[1].measured == pytest.approx(5.5)
    assert (found.winner, found.board_seconds, found.complete) == (0, 2.0, True)
    assert results.read(record.plan.folder) == found


def test_a_winner_that_fails_is_a_failed_network(record: Record) -> None:
    record.failed["good"] = "the loss is nan"
    point = record.study().points[1]
    assert (point.state, point.error, point.accuracy) == ("failed", "the loss is nan", 0.8)
