from __future__ import annotations

from typing import Any

import pytest
import spaces

from tvmkd.base.errors import GateFailure, InputError
from tvmkd.search.study.goal import Goal
from tvmkd.search.supernet.blueprints import Blueprints
from tvmkd.search.supernet.budget import check_budget
from tvmkd.search.supernet.corners import Corners
from tvmkd.search.supernet.ranking import Judged, Ranking

MADE = spaces.make({"width": {"low": 0.25, "high": 4.0, "step": 0.25}, "depth": [1, 2, 3]})
ENDS = Corners({"width": 4.0, "depth": 3}, {"width": 0.25, "depth": 1}, frozenset({"depth"}))


class World:
    """The latency is least at width 1: a narrower network is not faster."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def predict(self, structure: dict[str, Any]) -> Judged:
        self.seen.append(structure)
        latency = (1 + abs(structure["width"] - 1)) * structure["depth"]
        return Judged(str(structure), structure, latency, 0.9 * latency, 1.1 * latency)

    def check(self, ranking: Ranking) -> None:
        blueprints = Blueprints(MADE.cfg, MADE)
        blueprints.key = str  # type: ignore[method-assign, assignment]
        check_budget(blueprints, ENDS, self.predict, ranking, unit="ms", seed=0)


def test_one_that_meets_it_is_enough() -> None:
    world = World()
    world.check(Ranking(Goal("accuracy", 2.0)))
    assert world.seen == [ENDS.smallest]
    world = World()
    world.check(Ranking(Goal("accuracy")))
    assert len(world.seen) == 1


def test_the_fastest_is_looked_for() -> None:
    world = World()
    world.check(Ranking(Goal("accuracy", 1.0)))
    assert world.seen[-1] == {"width": 1.0, "depth": 1}
    assert len(world.seen) < MADE.size


def test_none_meets_it_and_the_fastest_is_told() -> None:
    world = World()
    says = (
        r"no network of the space meets the budget of 0\.5 ms: the fastest of \d+ is predicted to "
        r"take 1 ms \(0\.9 to 1\.1\), with width=1\.0, depth=1; give a larger budget"
    )
    with pytest.raises(GateFailure, match=says):
        world.check(Ranking(Goal("accuracy", 0.5)))


def test_the_high_end_has_to_meet_it_where_nothing_is_measured() -> None:
    World().check(Ranking(Goal("accuracy", 1.05)))
    with pytest.raises(GateFailure):
        World().check(Ranking(Goal("accuracy", 1.05), sure=True))


def test_a_weighted_objective_has_no_limit() -> None:
    World().check(Ranking(Goal("weighted", 0.5)))


def test_none_can_be_built() -> None:
    world = World()
    world.predict = lambda structure: Judged(str(structure), structure, error="no")  # type: ignore[method-assign]
    with pytest.raises(InputError, match="no network of the space can be built: no"):
        world.check(Ranking(Goal("accuracy", 1.0)))
