from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tvmkd.base.errors import InputError
from tvmkd.config import EarlyExit
from tvmkd.early_exit import calibrate, selection

MS = [0.1, 0.2, 0.5]


def network(count: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, count)
    truth = np.eye(6)[labels] * 12  # far too sure for its noise
    return [
        (truth + noise * rng.standard_normal((count, 6))).astype(np.float32)
        for noise in (9.0, 6.0, 3.0)
    ], labels


def section(**fields: Any) -> EarlyExit:
    return EarlyExit(exits=["a", "b"], **fields)


def test_without_a_budget_the_thresholds_are_searched() -> None:
    val, labels = network(300, 0)
    made = selection.select(section(max_drop=0.02), val, labels, MS)
    scales = made.calibration.rule.temperatures
    assert made.calibration == calibrate.calibrate(val, labels, MS, 0.02, scales)
    assert made.choice is None
    test, others = network(800, 1)
    facts = selection.facts(made, test, others, MS)
    assert set(facts) == {"temperatures", "calibration_error"}
    assert facts["temperatures"] == list(scales)
    before, after = zip(*facts["calibration_error"], strict=True)
    assert sum(after) < sum(before) - 0.05
    assert json.loads(json.dumps(facts)) == facts
    (line,) = selection.lines({**facts, "worst_ms": 0.5})
    assert line.startswith(f"temperatures {scales[0]:.2f}, {scales[1]:.2f}, {scales[2]:.2f}; ")
    assert f"calibration error {before[0]:.1%}, " in line


def test_a_budget_holds_for_the_mean_and_the_worst_case_is_told() -> None:
    val, labels = network(300, 0)
    made = selection.select(section(mean_budget="180us"), val, labels, MS)
    assert np.dot(made.calibration.rates, MS) <= 0.18 + 1e-9
    test, others = network(800, 1)
    facts = selection.facts(made, test, others, MS)
    budget = facts["budget"]
    assert set(budget["compared"]) == {"confidence", "scores"}
    for row in budget["compared"].values():
        assert row["ms"] == pytest.approx(0.18, abs=0.003)
        assert 0.5 < row["accuracy"] < 1
    assert (budget["ms"], budget["rule"]) == (0.18, made.choice and made.choice.kind)
    late = 1 - calibrate.apply(test, others, made.calibration.rule).rates[0]
    assert budget["over"] == pytest.approx(late)
    said = selection.lines({**facts, "worst_ms": 0.5, "whole_ms": 0.45})
    assert f"used for the mean budget: {budget['rule']}" in said
    assert said[-1] == (
        f"the budget of 0.18 ms is one of the mean: {budget['over']:.1%} of the test images take "
        "longer, 0.500 ms in the worst case; run_until keeps to a deadline"
    )


def test_a_budget_above_the_worst_case() -> None:
    val, labels = network(100, 0)
    made = selection.select(section(mean_budget=0.5), val, labels, MS)
    facts = selection.facts(made, val, labels, MS)
    assert facts["budget"]["over"] == 0
    told = selection.lines({**facts, "worst_ms": 0.5, "whole_ms": 0.51})[-1]
    assert told == "every image keeps to 0.5 ms: even the worst case takes 0.500 ms"
    told = selection.lines({**facts, "worst_ms": 0.5, "whole_ms": 0.45})[-1]
    assert told == (
        "the network without exits takes 0.450 ms and keeps to 0.5 ms for every image: with this "
        "budget exits save nothing"
    )


def test_a_budget_that_the_first_exit_misses_is_one_line() -> None:
    val, labels = network(20, 0)
    with pytest.raises(InputError) as refused:
        selection.select(section(mean_budget="50us"), val, labels, MS)
    assert str(refused.value) == (
        '[early_exit] mean_budget: 0.05 ms cannot be reached: the first exit, after "a", takes '
        "0.1 ms; allow more, or put an exit earlier"
    )
    assert refused.value.exit_code == 4
    selection.select(section(mean_budget="100us"), val, labels, MS)
