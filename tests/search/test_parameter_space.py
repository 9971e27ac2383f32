from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
import spaces

from tvmkd.base.errors import InputError, UsageError
from tvmkd.search.space import Space
from tvmkd.search.structure import Structure

SPACE: dict[str, Any] = {
    "model": ["depthwise", "mlp"],
    "width": {"low": 0.5, "high": 1.0, "step": 0.25},
    "student.args.patch": [2, 4],
    "precision": ["fp32", "int8"],
    "quantize.keep_fp32": [[], ["head"]],
    "exits": [False, ["features.4"]],
}


@pytest.fixture(scope="module")
def space() -> Space:
    return spaces.make(SPACE)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_size_counts_structures(space: Space) -> None:
    # depthwise: 3 widths, mlp: 3 · 2; fp32: 1, int8: 2; with and without exits.
    assert space.size == (3 + 6) * (1 + 2) * 2
    # The schema refuses int8 with exits.
    grid = space.grid()
    assert len(grid) == (3 + 6) * (1 * 2 + 2)
    assert len({space.key(each) for each in grid}) == len(grid)
    assert spaces.make({"distill.lr": {"low": 0.1, "high": 0.2}}).size is None


def test_a_grid_of_too_many() -> None:
    with pytest.raises(UsageError, match="infinitely many networks; a grid lists at most 10000"):
        spaces.make({"distill.lr": {"low": 0.1, "high": 0.2}}).grid()
    with pytest.raises(UsageError, match="20000 networks"):
        spaces.make({"distill.epochs": {"low": 1, "high": 20000}}).grid()


def valid(space: Space, structure: Structure) -> bool:
    return space.normalise(structure) == structure and space.problem(structure) is None


def test_what_is_drawn_mutated_and_crossed_is_valid(space: Space) -> None:
    random = rng()
    drawn = [space.draw(random) for _ in range(60)]
    assert {each["model"] for each in drawn} == {"depthwise", "mlp"}
    assert all(("student.args.patch" in each) == (each["model"] == "mlp") for each in drawn)
    others = [space.mutate(each, random) for each in drawn]
    assert all(new != old for new, old in zip(others, drawn, strict=True))
    mixed = [space.crossover(*pair, random) for pair in zip(drawn, others, strict=True)]
    assert all(valid(space, each) for each in (*drawn, *others, *mixed))
    assert [space.draw(rng(1)) for _ in range(3)] == [space.draw(rng(1)) for _ in range(3)]


def test_a_child_has_the_values_of_its_parents(space: Space) -> None:
    first = {"model": "mlp", "precision": "fp32", "exits": False, "width": 0.5}
    second = {"model": "depthwise", "precision": "fp32", "exits": ["features.4"], "width": 1.0}
    first["student.args.patch"] = 2
    for seed in range(20):
        child = space.crossover(first, second, rng(seed))
        assert all(value in (first.get(name), second.get(name)) for name, value in child.items())


def test_neighbours_differ_by_one_step(space: Space) -> None:
    start = {"model": "mlp", "precision": "int8", "exits": False, "width": 0.5}
    start |= {"quantize.keep_fp32": [], "student.args.patch": 4}
    found = space.neighbours(start)
    assert all(valid(space, each) for each in found)
    changed = [
        {name for name in {*start, *each} if start.get(name) != each.get(name)} for each in found
    ]
    assert changed == [
        {"model", "student.args.patch"},
        {"precision", "quantize.keep_fp32"},
        {"width"},  # one step up; exits are refused with int8
        {"student.args.patch"},
        {"quantize.keep_fp32"},
    ]


def test_optuna_chooses_structures_and_stores_them(space: Space) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    start = space.draw(rng())
    study.enqueue_trial(space.params(start))
    for number in range(20):
        trial = study.ask()
        found = space.suggest(trial)
        assert space.structure(trial.params) == found
        assert number or found == start
        assert trial.distributions == space.distributions(found)
        study.tell(trial, 0.0)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"model": "mlp"}, "model=mlp: precision is missing"),
        ({"model": "mpl"}, "model = 'mpl': not one of its values"),
    ],
)
def test_a_structure_of_another_space(space: Space, found: Structure, message: str) -> None:
    with pytest.raises(InputError, match=message):
        space.normalise(found)


def test_a_space_whose_networks_are_all_refused() -> None:
    space = spaces.make({"precision": ["int8"], "exits": [["features.4"]]})
    with pytest.raises(
        InputError, match=r"100 networks of the space in a row are refused: .*do not go"
    ):
        space.draw(rng())


def test_the_values_for_people(space: Space) -> None:
    assert space.describe()["width"] == "0.5 to 1, step 0.25"
    assert space.describe()["exits"] == "False, ['features.4']"
