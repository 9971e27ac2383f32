from __future__ import annotations

import math
from typing import Any

import latencies
import pytest
import spaces
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.distill import tasks
from tvmkd.distill.task import Task
from tvmkd.search.channels import different, efficient
from tvmkd.search.space import Space

WIDTH = {"low": 0.5, "high": 2.0, "channels": "efficient"}
STUDENT = {"model": "depthwise", "args": {"stem": 16, "blocks": [[32, 1]]}}


def test_the_last_count_before_each_step_up() -> None:
    found = efficient(range(1, 65), lambda count: math.ceil(count / 16))
    assert found == [16, 32, 48, 64]


def test_a_step_down_takes_away_what_is_before_it() -> None:
    seconds = {8: 1.0, 12: 3.0, 15: 3.5, 16: 2.0, 20: 4.0, 24: 4.0}
    assert efficient(list(seconds), seconds.__getitem__) == [8, 16, 24]


def test_less_than_the_tolerance_is_no_step() -> None:
    seconds = {8: 1.0, 16: 1.005, 24: 2.0}
    assert efficient(list(seconds), seconds.__getitem__) == [16, 24]
    assert efficient(list(seconds), seconds.__getitem__, tolerance=0.0) == [8, 16, 24]


def test_of_each_network_the_multiplier_with_few_digits() -> None:
    found = different(0.25, 1.5, lambda value: str(round(value * 8)))
    assert found == [0.3, 0.4, 0.5, 0.6, 0.7, 0.9, 1.0, 1.1, 1.2, 1.4, 1.5]
    assert different(0.5, 0.5, str) == [0.5]
    every = different(0.5, 2.0, str)
    assert every[0] == 0.5
    assert every[-1] == 2.0
    assert 30 <= len(every) <= 66


@pytest.fixture(scope="module")
def task() -> Task:
    return tasks.make(spaces.parse({"width": WIDTH}))


def channels(space: Space, width: Any) -> tuple[int, int]:
    """Channels of the stem and of the block with a width."""
    network = space.build(space.cfg, {**space.first({}), "width": width}, tasks.make(space.cfg))
    stem, head = network.get_submodule("features.0"), network.get_submodule("head")
    assert isinstance(stem, nn.Conv2d)
    assert isinstance(head, nn.Linear)
    return stem.out_channels, head.in_features


def test_a_width_offers_what_is_efficient_on_the_target(task: Task) -> None:
    space = spaces.make({"width": WIDTH, "distill.lr": [0.1, 0.2]}, student=STUDENT)
    assert space.size is None
    latency = latencies.Staircase(tile=12)
    found = space.efficient(latency, task)
    (width, _) = found.parameters
    assert width.listed is not None
    # Multiples of 4, of which the target's 8 has only half: stem and block fill tiles of 12.
    shapes = [channels(found, each) for each in width.listed]
    assert (12, 24) in shapes
    assert (24, 48) in shapes
    assert shapes[-1] == (32, 64)
    assert len(shapes) < len(latency.asked)
    tiles = [math.ceil(stem / 12) * 2 + math.ceil(block / 12) for stem, block in shapes]
    assert tiles == sorted(set(tiles))
    # The config of a network has the multiple with which it was found.
    cfg = found.apply(found.cfg, {"width": width.listed[0], "distill.lr": 0.1})
    assert cfg.student.args["multiple"] == 4
    assert found.size == 2 * len(width.listed)
    # Optuna takes unevenly spaced numbers as names, and is told how far apart they are.
    assert found.distances()["width"](1.5, 0.5) == 1.0


def test_each_model_has_its_own_efficient_widths(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tvmkd.search.channels.GRID", 12)
    space = spaces.make({"width": {**WIDTH, "multiple": 8}, "model": ["depthwise", "mlp"]})
    latency = latencies.Staircase()
    width = space.efficient(latency, task).parameters[1]
    alone = [
        set(
            spaces.make({"width": {**WIDTH, "multiple": 8}}, student={"model": model})
            .efficient(latency, task)
            .parameters[0]
            .listed
            or []
        )
        for model in ("depthwise", "mlp")
    ]
    assert set(width.listed or []) == alone[0] | alone[1]


class Failing(latencies.Staircase):
    """Cannot compile wide networks, or any."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def kernels(self, *args: Any) -> Any:
        found = super().kernels(*args)
        if max(each.flop for each in found) > self.most:
            raise InputError("too wide for the compiler")
        return found


def test_a_width_that_cannot_be_compiled_is_left_out(task: Task, capsys: Any) -> None:
    space = spaces.make({"width": WIDTH}, student=STUDENT)
    found = space.efficient(Failing(48), task).parameters[0].listed
    assert found
    assert max(channels(space, each)[1] for each in found) == 48
    assert " 6 multipliers: width=2.0: too wide" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"width=2\.0: too wide for the compiler"):
        space.efficient(Failing(1), task)
