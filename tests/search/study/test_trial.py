from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from tvmkd.base.errors import InputError, MissingError
from tvmkd.search.latency.prediction import Measured
from tvmkd.search.study import measuring, points, rungs, trial
from tvmkd.search.study.proposals import Proposals
from tvmkd.search.study.training import Trained

WIDE, NARROW = {"width": 4.0, "distill.lr": 4e-3}, {"width": 0.5, "distill.lr": 4e-3}


def carry_out(bench: Any, structure: dict[str, Any]) -> Any:
    """One trial of a structure; returns it as the study has it."""
    bench.study.enqueue_trial(bench.space.params(structure))
    asked = Proposals(bench.study, bench.space, bench.goal, 0, 20).next()
    assert asked is not None
    trial.carry_out(bench, *asked)
    return bench.study.trials[asked[0].number]


def test_a_network_is_trained_and_all_is_kept(bench, events):
    made = bench(budget=5)
    found = carry_out(made, WIDE)
    assert found.state == TrialState.COMPLETE
    assert found.values == [0.94]
    (point,) = made.points()
    assert (point.accuracy, point.test_accuracy, point.epochs, point.seed) == (0.94, 0.94, 2, 0)
    assert point.parameters == 3530
    assert (point.predicted, point.low, point.high) == pytest.approx((3.53, 2.824, 4.236))
    assert point.macs > point.parameters
    assert found.constraints == {"budget": pytest.approx(3.53 / 5 - 1)}
    texts = [data["text"] for name, data in events if name == "doing"]
    assert texts == ["lowering", "waiting for the teacher", "training", "waiting", "waiting"]


def test_a_network_that_is_too_slow_is_not_trained_and_the_sampler_learns_how_slow(bench, events):
    made = bench(budget=2)
    found = carry_out(made, WIDE)
    assert found.state == TrialState.PRUNED
    assert found.constraints == {"budget": pytest.approx(3.53 / 2 - 1)}
    (point,) = made.points()
    assert (point.state, point.epochs, point.error) == (
        "infeasible",
        0,
        "is slower than the budget",
    )
    assert [data["text"] for name, data in events if name == "doing"] == ["lowering"]


def test_a_weighted_network_that_cannot_win_is_not_trained(bench):
    made = bench(objective="weighted", budget=1, beta=1.0)
    first = carry_out(made, NARROW)
    assert first.values == [pytest.approx(0.2 + 0.346)]
    second = carry_out(made, WIDE)
    assert second.state == TrialState.PRUNED
    assert second.intermediate_values == {0: pytest.approx(2.824)}
    assert made.points()[1].state == "infeasible"


def test_a_training_that_does_worse_is_stopped_at_a_rung(bench, monkeypatch):
    monkeypatch.setattr(rungs, "WHOLE", 1)
    made = bench()
    carry_out(made, WIDE)
    found = carry_out(made, NARROW)
    assert found.state == TrialState.PRUNED
    point = made.points()[1]
    assert (point.state, point.epochs, point.accuracy) == ("pruned", 1, pytest.approx(0.4))


def test_a_front_s_training_is_stopped_by_two_faster_ones_that_are_better(bench, monkeypatch):
    made = bench(objective="front")
    monkeypatch.setattr(trial, "beaten", lambda one, others, *_, **__: len(list(others)) == 2)
    states = [carry_out(made, {**WIDE, "distill.lr": lr}).state for lr in (1e-3, 2e-3, 4e-3, 8e-3)]
    assert states == [TrialState.COMPLETE] * 2 + [TrialState.PRUNED] + [TrialState.COMPLETE]
    assert made.study.trials[0].values == [pytest.approx(0.94), pytest.approx(3.53)]


class Bad:
    """A training that ends in some bad way."""

    error: BaseException | None = None
    score = math.nan

    def __init__(self, networks: Any) -> None:
        del networks

    def teacher(self, candidate: Any) -> None:
        del candidate

    def fit(self, candidate: Any, rungs: Any, report: Any) -> Trained:
        if self.error is not None:
            raise self.error
        return Trained(self.score, None, 0.0, 2, None)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("student: the loss is nan\nin batch 3"), "student: the loss is nan in batch 3"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (None, "its score on the validation split is nan"),
    ],
)
def test_a_training_that_fails_is_a_failed_trial_with_one_line(bench, monkeypatch, error, line):
    made = bench()
    monkeypatch.setattr(Bad, "error", error)
    made.training = Bad(None)
    found = carry_out(made, WIDE)
    assert found.state == TrialState.FAIL
    (point,) = made.points()
    assert (point.state, point.error) == ("failed", line)
    report = made.plan.folder / "trials" / "error-0.txt"
    assert report.exists() == isinstance(error, ZeroDivisionError)
    made.quiet.epoch()


def test_ctrl_c_is_no_failure(bench, monkeypatch):
    made = bench()
    monkeypatch.setattr(Bad, "error", KeyboardInterrupt())
    made.training = Bad(None)
    with pytest.raises(KeyboardInterrupt):
        carry_out(made, WIDE)
    assert made.study.trials[0].state == TrialState.RUNNING


@pytest.fixture
def trained(tmp_path: Path) -> Any:
    """A training that leaves a file."""

    class Leaves(Bad):
        def fit(self, candidate: Any, rungs: Any, report: Any) -> Trained:
            path = candidate.folder / "student.pt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            return Trained(0.9, 0.8, 1.0, 2, path)

    return Leaves(None)


def test_a_network_near_the_front_counts_with_its_measured_time(bench, trained, monkeypatch):
    made = bench(objective="front", budget=4)
    made.training = trained
    monkeypatch.setattr(measuring, "measure", lambda *_: Measured(3e-3, 0.01, board_seconds=7.0))
    found = carry_out(made, WIDE)
    assert found.values == [0.9, 3.0]
    assert found.constraints == {"budget": pytest.approx(-0.25)}
    (point,) = made.points()
    assert (point.measured, point.latency) == (3.0, 3.0)
    assert point.checkpoint is not None
    assert (made.plan.folder / point.checkpoint).is_file()
    assert found.user_attrs[points.BOARD_SECONDS] == 7.0


def test_a_board_that_goes_away_leaves_the_predicted_time_and_one_line(
    bench, trained, monkeypatch, events
):
    def away(*_: Any) -> Measured:
        raise MissingError("no board answers under the key nano")

    made = bench(objective="front")
    made.training = trained
    monkeypatch.setattr(measuring, "measure", away)
    found = [carry_out(made, {**NARROW, "distill.lr": lr}) for lr in (1e-3, 2e-3)]
    assert [each.state for each in found] == [TrialState.COMPLETE] * 2
    assert found[0].values == [0.9, pytest.approx(0.346)]
    notes = [data["text"] for name, data in events if name == "note"]
    assert len(notes) == 1
    assert "no board answers under the key nano" in notes[0]
    monkeypatch.setattr(measuring, "measure", lambda *_: Measured(2e-4, 0.01))
    assert carry_out(made, {**NARROW, "distill.lr": 4e-3}).values == [0.9, 0.2]


def test_a_network_that_cannot_be_built_for_the_target_fails(bench, trained, monkeypatch):
    def unbuilt(*_: Any) -> Measured:
        raise InputError("student.onnx: no kernel for Einsum")

    made = bench()
    made.training = trained
    monkeypatch.setattr(measuring, "measure", unbuilt)
    assert carry_out(made, WIDE).state == TrialState.FAIL
    assert made.points()[0].error == "student.onnx: no kernel for Einsum"
