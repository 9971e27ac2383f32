from __future__ import annotations

import pytest
import studies
from studies import point

from tvmkd.base.errors import UsageError
from tvmkd.search import gate

POINTS = [
    point(0, 0.95, measured=4.0, predicted=4.1),
    point(1, 0.90, measured=2.0, predicted=2.1),
    point(2, 0.99, predicted=1.0, low=0.9, high=1.1),
]


def test_a_measured_network_meets_the_budget() -> None:
    told = gate.judge(studies.study(POINTS, budget=4.5, winner=0))
    assert told.passed
    (check,) = told.checks
    assert check.requirement == "latency <= 4.5 ms"
    text = "latency <= 4.5 ms: 2 of 2 measured networks; trial 0: 95.0%, 4.00 ms measured"
    assert check.text.startswith(text)


def test_a_predicted_one_does_not_where_others_were_measured() -> None:
    told = gate.judge(studies.study(POINTS, budget=1.5))
    assert not told.passed
    text = "none of 2 measured networks; the fastest is trial 1: 90.0%, 2.00 ms measured"
    assert text in told.checks[0].text
    assert gate.judge(studies.study(POINTS[2:], budget=1.5)).passed, "none was measured"
    assert gate.judge(studies.study(POINTS, budget=1.5, winner=2)).passed, "it is the winner"
    across = gate.judge(studies.study(POINTS[2:], budget=1.05))
    assert not across.passed, "the high end of its interval counts"


def test_nothing_that_was_trained_meets_nothing() -> None:
    told = gate.judge(studies.study([point(0, state="failed")], budget=1.0))
    assert [check.text for check in told.checks] == [
        "latency <= 1 ms: no network was trained to the end"
    ]
    assert not told.passed
    told = gate.judge(studies.study([point(0, state="failed")]))
    assert [check.text for check in told.checks] == ["no network was trained to the end"]
    assert not told.passed


def test_the_winners_median_is_held_against_the_rules_of_the_file() -> None:
    study = studies.study(POINTS, winner=0)
    rules = ["tvm.p50 < 4.5ms", "2 * tvm:standalone.p50 <= 7 ms", "3ms > tvm@board.p50"]
    told = gate.judge(study, rules)
    assert [check.holds for check in told.checks] == [True, False, False]
    assert told.checks[1].text == (
        "2 * tvm:standalone.p50 <= 7 ms: 8 ms is not <= 7 ms (trial 0, measured)"
    )
    assert told.undecided == []


def test_other_rules_need_a_comparison() -> None:
    rules = [
        "tvm.p99 < 20ms",
        "tvm.p50 <= 1.2 * onnxruntime.p50",
        "tvm.size < 4MB",
        "tvm.p50 < budget",
        "tvm:untuned.p50 < 1s",
        "onnxruntime.p50 < 1ms",
    ]
    told = gate.judge(studies.study(POINTS, winner=0), rules)
    assert (told.checks, told.undecided, told.passed) == ([], rules, True)
    for study in (
        studies.study(POINTS, winner=2),
        studies.study(POINTS, winner=0, unit="M instructions"),
        studies.study(POINTS),
    ):
        assert gate.judge(study, ["tvm.p50 < 1ns"]).undecided == ["tvm.p50 < 1ns"]
    with pytest.raises(UsageError, match="ends where one of"):
        gate.judge(studies.study(POINTS), ["tvm.p50"])
