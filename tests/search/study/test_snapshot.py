from __future__ import annotations

from typing import Any

import optuna
import pytest

from tvmkd.base.errors import InputError, MissingError
from tvmkd.search import results
from tvmkd.search.latency.prediction import Measured
from tvmkd.search.study import measuring, points, snapshot


def add(bench: Any, number: int, accuracy: float, low: float, high: float) -> None:
    """A finished trial with weights, predicted and not measured."""
    structure = {"width": [0.5, 1.0, 2.0, 3.0, 4.0][number], "distill.lr": 1e-3}
    place = bench.plan.folder / "trials" / str(number) / "student.pt"
    place.parent.mkdir(parents=True)
    place.touch()
    kept = {
        "structure": structure,
        "accuracy": accuracy,
        "predicted": (low + high) / 2,
        "low": low,
        "high": high,
        "seconds": 2.0,
        "checkpoint": place.relative_to(bench.plan.folder).as_posix(),
    }
    bench.study.add_trial(
        optuna.trial.create_trial(
            value=accuracy,
            params=bench.space.params(structure),
            distributions=bench.space.distributions(structure),
            user_attrs=kept,
        )
    )


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int | None]]:
    """The calls of what writes the page and the winner."""
    calls: list[tuple[str, int | None]] = []
    monkeypatch.setattr(
        snapshot.page, "write", lambda study, path: calls.append((path.name, study.winner))
    )
    monkeypatch.setattr(
        snapshot.winner,
        "write",
        lambda study, cfg, space, folder, teacher: calls.append(("winner", study.winner)),
    )
    return calls


def test_study_json_is_what_is_known(bench, files):
    made = bench(budget=3, beta=0.5)
    add(made, 0, 0.8, 1.0, 1.2)
    add(made, 1, 0.9, 2.0, 2.4)
    made.study.set_user_attr("teacher", {"model": "residual", "test_accuracy": 0.99, "macs": 5})
    found = snapshot.write(made)
    assert results.read(made.plan.folder) == found
    assert (found.name, found.target, found.metric) == ("toy", made.plan.target.name, "accuracy")
    assert (found.budget, found.unit, found.beta) == (3.0, "ms", 0.5)
    assert found.teacher == {"model": "residual", "accuracy": 0.99, "macs": 5, "parameters": None}
    assert found.table == {"source": "sums"}
    assert list(found.space) == ["width", "distill.lr"]
    assert (found.winner, found.complete, found.training_seconds) == (1, False, 4.0)
    assert found.reference is not None
    assert files == []


def test_what_may_win_is_measured_before_the_winner_is_chosen(bench, files, monkeypatch):
    made, asked = bench(budget=3), []
    add(made, 0, 0.80, 1.0, 1.2)
    add(made, 1, 0.90, 2.0, 2.4)
    add(made, 2, 0.95, 2.8, 3.4)  # only a measurement can tell
    add(made, 3, 0.99, 3.5, 4.0)

    def measure(_: Any, checkpoint: Any, *__: Any) -> Measured:
        asked.append(int(checkpoint.parent.name))
        seconds = {0: 1e-3, 1: 2.1e-3, 2: 3.1e-3, 3: 3.6e-3}[asked[-1]]
        return Measured(seconds, 0.01, board_seconds=1.5)

    monkeypatch.setattr(measuring, "measure", measure)
    found = snapshot.finish(made)
    assert asked[:2] == [2, 1], "the best that may meet the budget, then the next"
    assert (found.winner, found.complete) == (1, True)
    assert {point.number: point.measured for point in found.points}[2] == 3.1
    assert found.board_seconds == 1.5 * len(asked)
    assert files == [("winner", 1), ("pareto.html", 1)]
    again = len(asked)
    snapshot.finish(made)
    assert len(asked) == again, "nothing is measured twice"


def test_without_a_board_predictions_decide(bench, files, monkeypatch, events):
    made, asked = bench(budget=3), []
    add(made, 0, 0.80, 1.0, 1.2)
    add(made, 1, 0.95, 2.8, 3.4)

    def away(*_: Any) -> Measured:
        asked.append(1)
        raise MissingError("no board answers")

    monkeypatch.setattr(measuring, "measure", away)
    assert snapshot.finish(made).winner == 0
    assert len(asked) == 1
    assert sum(name == "note" for name, _ in events) == 1


def test_a_network_that_cannot_be_measured_leaves_the_others(bench, files, monkeypatch, events):
    made = bench(budget=3)
    add(made, 0, 0.80, 1.0, 1.2)
    add(made, 1, 0.95, 2.8, 3.4)

    def fail(_: Any, checkpoint: Any, *__: Any) -> Measured:
        if checkpoint.parent.name == "1":
            raise InputError("no kernel for Einsum")
        return Measured(1e-3, 0.01)

    monkeypatch.setattr(measuring, "measure", fail)
    assert snapshot.finish(made).winner == 0
    notes = [data["text"] for name, data in events if name == "note"]
    assert notes == ["warning: trial 1 is not measured: no kernel for Einsum"]


def test_a_winner_of_another_machine_has_no_files_here(bench, files):
    made = bench(measure=False)
    add(made, 0, 0.80, 1.0, 1.2)
    (made.plan.folder / "trials" / "0" / "student.pt").unlink()
    assert snapshot.finish(made).winner == 0
    assert files == [("pareto.html", 0)]


def test_a_study_without_networks_can_be_written(bench, files):
    found = snapshot.finish(bench())
    assert (found.winner, found.points, found.reference) == (None, [], None)
    assert points.measured_later({}) == {}
