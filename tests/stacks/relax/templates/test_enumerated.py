"""A space that is a list: its members, its order, and what it proposes."""

from __future__ import annotations

import hashlib
import math
import sys
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import numpy as np
    import template_cases as cases
    import tiny_kernels

    from tvmkd.stacks.relax.templates import enumerated, template_for
    from tvmkd.stacks.relax.templates.cpu import Cpu
    from tvmkd.stacks.relax.templates.enumerated import EnumeratedSpace


def tile(sch: Any, config: dict[str, Any]) -> None:
    """Splits the columns of `scaled`; refuses tiles below one and, as TVM does, a block's name."""
    if config["tile"] < 1:
        raise ValueError("no such tile")
    block = sch.get_sblock(config.get("block", "scaled"))
    sch.split(sch.get_loops(block)[-1], [None, config["tile"]])


def space(*tiles: Any, **more: Any) -> Any:
    configs = [{"tile": each, **more} for each in tiles]
    return EnumeratedSpace(cases.module(*cases.scaled(4, 24)), configs, tile)


def proposed(of: Any, n: int, known: Any = (), history: Any = (), seed: int = 0) -> list[int]:
    found = of.propose(n, set(known), list(history), np.random.default_rng(seed))
    return [member.config["tile"] for member in found]


@inside("relax")
def test_a_member_is_one_schedule_made_once() -> None:
    of = space(2, 3)
    first, second = of.member(0), of.member(1)
    assert of.member(0) is first
    assert first.key != second.key
    assert (first.config, second.config) == ({"tile": 2}, {"tile": 3})
    assert first.schedule.mod.script() != second.schedule.mod.script()
    assert of.size == 2


@inside("relax")
def test_what_cannot_be_applied_and_what_is_there_already_is_no_member() -> None:
    of = space(0, 3, 3, 2)
    assert [of.member(number) is None for number in range(4)] == [True, False, True, False]
    assert space(2, block="nothing").member(0) is None
    assert of.default().mod.script() == of.member(1).schedule.mod.script()
    assert space(0, -1).default() is None


@inside("relax")
def test_a_fault_of_the_template_itself_is_not_hidden() -> None:
    with pytest.raises(TypeError):
        space("two").member(0)


@inside("relax")
def test_every_fourth_proposal_is_drawn_at_random_until_there_are_no_more() -> None:
    tiles = [*range(1, 13), 24]
    of = space(*tiles)
    runs = [proposed(of, 100, seed=seed) for seed in range(8)]
    for found in runs:
        assert found[:3] == [1, 2, 3]
        assert sorted(found) == tiles
    # The fourth: any of those that are left, or the next of the list.
    assert len({found[3] for found in runs}) >= 3
    assert proposed(of, 100, seed=0) == runs[0], "the same seed"
    assert proposed(of, 2) == [1, 2]


@inside("relax")
def test_what_is_known_is_not_proposed() -> None:
    of = space(1, 2, 3)
    keys = [of.member(number).key for number in range(3)]
    assert proposed(of, 3, known=keys[:1]) == [2, 3]
    assert proposed(of, 3, known=keys) == []


class Regressor:
    """XGBoost's regressor, as one that says: the larger the first feature, the faster."""

    fitted: ClassVar[list[Any]] = []

    def __init__(self, **settings: Any) -> None:
        assert (settings["n_jobs"], settings["random_state"]) == (1, 0)

    def fit(self, features: Any, times: Any) -> None:
        self.fitted.append((features[:, 0].tolist(), times.tolist()))

    def predict(self, features: Any) -> Any:
        return -features[:, 0]


@inside("relax")
def test_a_new_space_finds_the_members_of_a_history() -> None:
    """A resumed session knows keys only; from ten on the cost model ranks by their times."""
    tiles = [*range(1, 13), 24]
    keys = [space(*tiles).member(number).key for number in range(len(tiles))]
    history = [(key, 1.0 / each) for key, each in zip(keys[:10], tiles, strict=False)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "xgboost", SimpleNamespace(XGBRegressor=Regressor))
        assert proposed(space(*tiles), 2, known=keys[:10], history=history) == [24, 12]
        times = [-math.log(each) for each in tiles[:10]]
        middle = sum(times) / len(times)
        about = pytest.approx([each - middle for each in times])
        assert Regressor.fitted == [([float(each) for each in tiles[:10]], about)]
        assert proposed(space(*tiles), 3, history=history) == [24, 12, 11]
        few = history[1:]
        assert proposed(space(*tiles), 1, history=few) == [1], "nine are too few to learn from"
        failed = [(key, None) for key, _ in history]
        assert proposed(space(*tiles), 1, history=failed) == [1], "failures have no time"


@inside("relax")
def test_words_are_numbers_that_are_the_same_in_every_process() -> None:
    config = {"order": "rows", "blocks": 3, "parallel": True, "cycles": 0.5}
    ((blocks, cycles, order, parallel),) = enumerated._features([config])
    assert (blocks, cycles, parallel) == (3.0, 0.5, 1.0)
    assert order == pytest.approx(hashlib.sha256(b"rows").digest()[0] / 255)


@inside("relax")
def test_members_of_several_algorithms_are_learnt_from_together() -> None:
    """As of a convolution that can be computed directly, or by Winograd's algorithm."""
    direct, other = {"tile": 4, "order": "rows"}, {"tile": 2, "outputs": 16, "unroll": None}
    found = enumerated._features([direct, other])
    assert found.shape == (2, 4)
    assert list(np.isnan(found[0])) == [False, True, False, True]
    assert list(np.isnan(found[1])) == [True, False, False, True]
    configs = [{"tile": each} for each in range(1, 9)] + [{"outputs": each} for each in (1, 2, 3)]

    def apply(schedule: Any, config: dict[str, Any]) -> None:
        tile = config.get("tile", 8 + config.get("outputs", 0))
        schedule.split(schedule.get_loops(schedule.get_sblock("C"))[0], [None, tile])

    mixed = enumerated.EnumeratedSpace(tiny_kernels.task("matmul:32").mod, configs, apply)
    keys = [mixed.member(number).key for number in range(len(configs))]
    history = [(key, 1.0 + place) for place, key in enumerate(keys[1:])]
    assert mixed.propose(1, set(keys[1:]), history, np.random.default_rng(0))[0].key == keys[0]


def cost(config: dict[str, Any]) -> float | None:
    """What the cost model has to find out: many columns are good, one kind fails."""
    return None if config["order"] == "rows" else 1.0 / config["columns"]


def small_convolution() -> Any:
    return cases.module(*cases.convolution(8, (2, 6), 4))


def proposals(seed: int) -> list[str]:
    """The keys of all proposals for a convolution, four at a time."""
    of, rng = template_for(small_convolution(), Cpu(threads=2)), np.random.default_rng(seed)
    assert of is not None
    history: list[tuple[str, float | None]] = []
    while found := of.propose(4, {key for key, _ in history}, history, rng):
        assert len(found) <= 4
        history += [(each.key, cost(each.config or {})) for each in found]
    return [key for key, _ in history]


@inside("relax")
def test_the_proposals_for_a_convolution_end_and_never_repeat() -> None:
    found = proposals(0)
    assert len(found) == len(set(found)) > enumerated.ENOUGH[True] + 4, (
        "the cost model ranks the rest"
    )
    assert proposals(0) == found, "the same seed"
    other = proposals(1)
    assert other != found
    assert set(other) == set(found)
    of = template_for(small_convolution(), Cpu(threads=2))
    assert of is not None
    known = [(key, 1.0) for key in found[:-2]]
    rest = of.propose(4, set(found[:-2]), known, np.random.default_rng(1))
    assert {each.key for each in rest} == set(found[-2:])
