from __future__ import annotations

import pytest

from tvmkd.base.errors import InputError
from tvmkd.search.study import baselines, snapshot


def test_the_files_own_student_is_trained_and_measured_once(bench, events, monkeypatch):
    made = bench("stand_ins:Saving", baselines=None)
    assert baselines.known(made) == []
    baselines.add(made)
    (point,) = snapshot.snapshot(made).baselines
    assert (point.structure, point.state) == ({"model": "depthwise"}, "complete")
    assert (point.accuracy, point.measured) == (0.9, 1.0)
    task = made.networks.session(made.plan.cfg).task
    own = made.space.build(made.plan.cfg, {"width": 1.0, "distill.lr": 1e-3}, task)
    assert point.parameters == sum(weight.numel() for weight in own.parameters())
    assert point.predicted == pytest.approx(1e-3 * point.parameters)
    monkeypatch.setattr(made.training, "fit", None)
    baselines.add(made)
    assert baselines.known(made) == [point]
    assert [data for name, data in events if name == "note"] == []


def test_named_students_are_compared_and_one_that_fails_is_told(bench, events, monkeypatch):
    made = bench("stand_ins:Saving", baselines=["mlp", "bottleneck"], measure=False)
    fit = made.training.fit

    def failing(candidate, rungs, report):
        if candidate.cfg.student.model == "mlp":
            raise InputError("the loss is nan")
        return fit(candidate, rungs, report)

    monkeypatch.setattr(made.training, "fit", failing)
    baselines.add(made)
    (point,) = baselines.known(made)
    assert point.structure == {"model": "bottleneck"}
    assert point.measured is None
    (note,) = [data["text"] for name, data in events if name == "note"]
    assert note == "warning: the student mlp is not compared: the loss is nan"


def test_without_a_board_it_is_trained_and_measured_by_a_later_call(bench, events, monkeypatch):
    made = bench("stand_ins:Saving", baselines=None)
    monkeypatch.setenv("STAND_IN_AWAY", "1")
    baselines.add(made)
    assert baselines.known(made)[0].measured is None
    assert any("no board answers" in str(data) for _, data in events)
    monkeypatch.delenv("STAND_IN_AWAY")
    baselines.add(made)
    assert baselines.known(made)[0].measured == 1.0
