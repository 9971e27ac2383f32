from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import spaces

from tvmkd.search.study.goal import Goal
from tvmkd.search.supernet import evolution
from tvmkd.search.supernet.blueprints import Blueprints
from tvmkd.search.supernet.evolution import evolve
from tvmkd.search.supernet.ranking import Judged, Ranking

VALUES = {"low": 0.25, "high": 4.0, "step": 0.25}
MADE = spaces.make({"width": {**VALUES, "per_stage": True}, "depth": [1, 2, 3]})


class World:
    """Networks whose score is their width, and whose latency is known."""

    def __init__(self, made: Any = MADE, budget: float | None = 6.0) -> None:
        self.blueprints = Blueprints(made.cfg, made)
        # The text is a quicker key than building; no two structures are equal here.
        self.blueprints.key = str  # type: ignore[method-assign, assignment]
        self.seen: list[dict[str, Any]] = []
        self.generations: list[int] = []
        self.ranking = Ranking(Goal("accuracy", budget))

    def judge(self, structure: dict[str, Any]) -> Judged:
        self.seen.append(structure)
        widths = [value for name, value in structure.items() if name.startswith("width")]
        latency = sum(width**2 for width in widths) / len(widths) * structure["depth"]
        found = Judged(str(structure), structure, predicted=latency)
        slow = self.ranking.excess(found) > 0
        score = None if slow else sum(widths) / len(widths) + structure["depth"] / 100
        return Judged(str(structure), structure, predicted=latency, score=score)

    def evolve(self, **settings: Any) -> list[Judged]:
        asked = {"population": 12, "generations": 8, "seed": 0, **settings}
        return evolve(
            self.blueprints,
            self.judge,
            self.ranking,
            report=lambda found: self.generations.append(len(found)),
            **asked,
        )


def best(world: World, found: Sequence[Judged]) -> float:
    return world.ranking(found)[0].score or 0.0


def test_it_beats_as_many_random_draws() -> None:
    gains = []
    for seed in range(2):
        evolved, drawn = World(), World()
        found = evolved.evolve(seed=seed, population=20)
        random = drawn.evolve(seed=seed, population=len(found), generations=0)
        assert len(found) == len(random) == 180
        gains.append(best(evolved, found) - best(drawn, random))
    assert min(gains) >= 0
    assert max(gains) > 0
    # The best there is: the width √6 = 2.45 in all stages, at depth 1.
    evolved = World()
    assert best(evolved, evolved.evolve(generations=15)) > 2.3


def test_it_finds_into_a_budget_that_no_first_network_meets() -> None:
    world = World(budget=0.3)
    found = world.evolve(generations=30)
    assert all(each.score is None for each in found[:12])
    assert world.ranking(found)[0].score is not None


def test_each_network_is_evaluated_once_and_the_same_seed_gives_the_same() -> None:
    one, other = World(), World()
    start = [{**dict.fromkeys(("width.0", "width.1", "width.2"), 0.25), "depth": 1}] * 2
    first = one.evolve(start=start)
    assert one.seen[0] == start[0]
    assert len({str(each) for each in one.seen}) == len(one.seen) == len(first)
    assert one.generations == [12 * (1 + number) for number in range(9)]
    assert [each.key for each in other.evolve(start=start)] == [each.key for each in first]
    assert other.evolve(seed=1)[3].key != first[3].key


def test_a_small_space_is_tried_as_a_whole() -> None:
    made = spaces.make({"width": [0.5, 1.0, 2.0], "depth": [1, 2]})
    world = World(made)
    found = world.evolve(population=4, generations=1)
    assert len(found) == made.size == 6
    assert world.generations == [4, 6]


def test_a_range_without_steps_never_ends() -> None:
    world = World(spaces.make({"width": {"low": 0.3, "high": 4.0}, "depth": [1, 2]}))
    found = world.evolve(population=10, generations=10)
    assert len(found) == 110
    assert best(world, found) > 2.35


def test_a_generation_ends_where_nothing_is_new() -> None:
    made = spaces.make({"width": [0.5, 1.0, 2.0], "depth": [1, 2]})
    world = World(made)
    world.blueprints.space.__dict__["size"] = None  # as if it were not known
    try:
        assert len(world.evolve(population=4, generations=50)) <= 6
    finally:
        del world.blueprints.space.__dict__["size"]


def test_a_space_that_is_too_large_for_a_list_evolves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolution, "GRID", 50)
    made = spaces.make({"width": {"low": 1, "high": 60}, "depth": [1]})
    monkeypatch.setattr(made, "grid", None)
    world = World(made, budget=None)
    assert len(world.evolve(population=40, generations=1)) >= 40


def test_a_small_space_is_tried_as_a_whole_although_many_networks_are_alike() -> None:
    made = spaces.make({"depth": [1, 2], "width": {"low": 1, "high": 80}})
    world = World(made, budget=None)
    world.blueprints.key = lambda one: str(
        one["depth"],
    )  # type: ignore[method-assign]
    found = world.evolve(population=160, generations=1)
    assert {each.structure["depth"] for each in found} == {1, 2}
