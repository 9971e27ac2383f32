from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tvmkd.config.values import Values
from tvmkd.search.parameters import Parameter, code, text_of


def parameter(given: Any, **known: Any) -> Parameter:
    return Parameter("p", "student.args.p", Values.model_validate(given), **known)


STEPS = parameter({"low": 0.1, "high": 0.5, "step": 0.1})
RANGE = parameter({"low": 1.0, "high": 16.0, "log": True})
WHOLE = parameter({"low": 1, "high": 64, "log": True})
MIXED = parameter([False, ["features.3"], ["features.3", "features.4"]])
UNEVEN = parameter([0.5, 2.0, 1.0])


@pytest.mark.parametrize("each", [STEPS, RANGE, WHOLE, MIXED, UNEVEN])
def test_drawn_values_are_values_and_every_value_is_drawn(each: Parameter) -> None:
    rng = np.random.default_rng(0)
    found = [each.draw(rng) for _ in range(400)]
    assert [each.snap(value) for value in found] == found
    if each.listed is not None and not each.values.log:
        assert {text_of(value) for value in found} == {text_of(value) for value in each.listed}
    if each.values.log:
        # Evenly over the logarithm: half of the values are below the middle of 1 and 16 or 64.
        middle = float(each.values.high or 0) ** 0.5
        assert 0.4 < np.mean(np.array(found) < middle) < 0.6


@pytest.mark.parametrize(
    ("each", "value", "near"),
    [
        (STEPS, 0.3, [0.2, 0.4]),
        (STEPS, 0.1, [0.2]),
        (UNEVEN, 1.0, [0.5, 2.0]),
        (MIXED, False, [["features.3"], ["features.3", "features.4"]]),
        (parameter([1, 2]), 2, [1]),
        (parameter(["a"]), "a", []),
    ],
)
def test_the_values_beside_one(each: Parameter, value: Any, near: list[Any]) -> None:
    assert each.near(value) == near


def test_beside_a_value_of_a_range_without_steps() -> None:
    below, above = RANGE.near(4.0)
    assert below * above == pytest.approx(16.0)
    assert 1.0 < below < 4.0 < above < 16.0
    assert len(RANGE.near(1.0)) == 1


@pytest.mark.parametrize("each", [STEPS, RANGE, WHOLE, MIXED, UNEVEN])
def test_a_mutation_is_another_value(each: Parameter) -> None:
    rng = np.random.default_rng(0)
    value = each.draw(rng)
    others = [each.mutated(value, rng) for _ in range(50)]
    assert all(text_of(other) != text_of(value) for other in others)
    assert [each.snap(other) for other in others] == others
    assert parameter(["a"]).mutated("a", rng) == "a"


@pytest.mark.parametrize(
    ("each", "kind"),
    [
        (STEPS, FloatDistribution(0.1, 0.5, step=0.1)),
        (RANGE, FloatDistribution(1.0, 16.0, log=True)),
        (WHOLE, IntDistribution(1, 64, log=True)),
        (parameter({"low": 8, "high": 32, "step": 8}), IntDistribution(8, 32, step=8)),
        (parameter([5, 3, 1]), IntDistribution(1, 5, step=2)),
        (UNEVEN, CategoricalDistribution([0.5, 2.0, 1.0])),
        (parameter([3, 5]), CategoricalDistribution([3, 5])),
        (parameter({"low": 0.001, "high": 0.001, "log": True}), CategoricalDistribution([0.001])),
        (parameter(["a", "b", "c"]), CategoricalDistribution(["a", "b", "c"])),
        (
            MIXED,
            CategoricalDistribution([False, '["features.3"]', '["features.3", "features.4"]']),
        ),
    ],
)
def test_evenly_spaced_numbers_are_a_range_for_optuna(each: Parameter, kind: Any) -> None:
    assert each.distribution == kind


@pytest.mark.parametrize("each", [STEPS, RANGE, WHOLE, MIXED, UNEVEN])
def test_what_optuna_suggests_is_a_value(each: Parameter) -> None:
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(sampler=sampler)
    for _ in range(20):
        trial = study.ask()
        value = each.suggest(trial)
        assert each.listed is None or value in each.listed
        assert each.snap(trial.params["p"]) == value
        assert each.snap(code(value)) == value


@pytest.mark.parametrize(
    ("each", "value"),
    [(STEPS, 0.7), (STEPS, "a"), (RANGE, 0.5), (RANGE, True), (MIXED, True), (WHOLE, 65)],
)
def test_what_is_no_value(each: Parameter, value: Any) -> None:
    with pytest.raises(ValueError, match=r"^p = "):
        each.snap(value)


def test_a_parameter_applies_with_some_values_of_others() -> None:
    needs = {"model": frozenset({text_of("mlp")}), "prune": frozenset({text_of(1)})}
    each = parameter([1], needs=needs)
    assert each.applies({"model": "mlp", "prune": 1.0})
    assert not each.applies({"model": "mlp", "prune": 0})
    assert not each.applies({"prune": 1})


def test_equal_values_have_equal_texts() -> None:
    assert text_of(1) == text_of(1.0) == text_of(1 + 1e-12)
    assert Counter(map(text_of, [1, True, "1", [1]])).most_common(1)[0][1] == 1
