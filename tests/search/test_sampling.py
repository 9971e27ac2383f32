"""A sample of a space's networks, and what they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import latencies
import pytest
import spaces
from torch import nn

from tvmkd import targets
from tvmkd.base.errors import InputError
from tvmkd.distill import tasks
from tvmkd.search import sampling
from tvmkd.search.exits import Until
from tvmkd.search.latency.filling import Filled
from tvmkd.search.latency.table import LatencyTable
from tvmkd.search.space import Space

WIDTHS = {"low": 0.5, "high": 1.5, "step": 0.25}


def test_the_same_call_gives_the_same_structures() -> None:
    space = spaces.make({"width": WIDTHS, "model": ["depthwise", "mlp"]})
    found = sampling.structures(space, 4, seed=1)
    assert found == sampling.structures(space, 4, seed=1)
    assert found != sampling.structures(space, 4, seed=2)
    assert len({space.key(each) for each in found}) == 4


def test_a_small_space_is_drawn_in_full() -> None:
    space = spaces.make({"width": {"low": 0.5, "high": 1.0, "step": 0.5}})
    assert sorted(each["width"] for each in sampling.structures(space, 50, seed=0)) == [0.5, 1.0]


def test_a_space_that_the_schema_refuses() -> None:
    space = spaces.make({"width": WIDTHS})
    space.problem = lambda structure: "too wide"  # type: ignore[method-assign]
    with pytest.raises(InputError, match="are refused: too wide"):
        sampling.structures(space, 3, seed=0)


def made(space: Space, structure: dict[str, Any]) -> tuple[nn.Module | Path, Any]:
    (make,) = sampling.networks(space, tasks.make(space.cfg), [structure])
    return make()


def test_networks_have_the_width_and_the_input_of_their_structure() -> None:
    space = spaces.make({"width": WIDTHS, "resolution": [16, 24]})
    network, shape = made(space, {"width": 0.5, "resolution": 24})
    assert isinstance(network, nn.Module)
    assert network.get_submodule("features.0").out_channels == 8
    assert shape == (1, 1, 24, 24)


def test_networks_with_exits_have_them_all() -> None:
    space = spaces.make({"exits": [["features.4"]]})
    network, _ = made(space, {"exits": ["features.4"]})
    assert isinstance(network, Until)
    assert network.last == 1


def test_networks_of_eight_bits_are_files() -> None:
    space = spaces.make({"precision": ["int8"]})
    network, shape = made(space, {"precision": "int8"})
    assert isinstance(network, Path)
    assert network.exists()
    assert shape is None
    again, _ = made(space, {"precision": "int8"})
    assert again == network


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls of `fill`."""
    calls: list[Any] = []

    def fill(table: Any, networks: Any, **options: Any) -> Filled:
        calls.append((len(networks), options))
        return Filled(networks=len(networks))

    monkeypatch.setattr(sampling, "fill", fill)
    return calls


def test_a_table_with_boards_is_filled_before_a_search(filled: list[Any], tmp_path: Path) -> None:
    space = spaces.make({"width": WIDTHS})
    task = tasks.make(space.cfg)
    with LatencyTable(tmp_path, targets.load("x86-64-v3")) as table:
        assert sampling.prepare(table, space, task) is None
        table.boards = type("Boards", (), {"close": lambda self: None})()
        done = sampling.prepare(table, space, task, count=3, whole=2, seed=5)
    assert done == Filled(networks=3)
    assert filled == [(3, {"whole": 2, "seed": 5, "progress": None})]


def test_other_predictors_need_no_filling(filled: list[Any]) -> None:
    space = spaces.make({"width": WIDTHS})
    assert sampling.prepare(latencies.Staircase(), space, tasks.make(space.cfg)) is None
    assert filled == []
