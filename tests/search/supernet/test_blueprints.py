from __future__ import annotations

import pytest
import spaces

from tvmkd.base.errors import UsageError
from tvmkd.config import Config
from tvmkd.distill import tasks
from tvmkd.distill.task import Task
from tvmkd.search.supernet.blueprints import Blueprints

SPACE = {"width": {"low": 0.0, "high": 1.0, "step": 0.25}, "resolution": [8, 16]}
MADE = spaces.make(SPACE, student={"model": "bottleneck", "args": {"depth": 0.5}})


def test_each_size_of_images_has_one_task_and_networks_know_it() -> None:
    blueprints = Blueprints(MADE.cfg, MADE)
    small, large = ({"width": 0.5, "resolution": size} for size in (8, 16))
    assert blueprints.task(small).input_shape == (1, 1, 8, 8)
    assert blueprints.task(large).input_shape == (1, 1, 16, 16)
    assert blueprints.task({"width": 1.0, "resolution": 8}) is blueprints.task(small)
    model = blueprints.model(small)
    assert model["spec"] == "bottleneck"
    assert (model["kwargs"]["size"], model["kwargs"]["multiple"]) == (8, MADE.multiple)
    assert (model["kwargs"]["width"], model["kwargs"]["depth"]) == (0.5, 0.5)
    assert blueprints.config(small).data.image_size == 8


def test_tasks_are_made_once_for_each_size() -> None:
    made = []

    def make(cfg: Config) -> Task:
        made.append(cfg.data.image_size)
        return tasks.make(cfg)

    blueprints = Blueprints(MADE.cfg, MADE, make)
    for width in (0.5, 1.0):
        for size in (8, 16):
            blueprints.build({"width": width, "resolution": size})
    assert made == [8, 16]


def test_equal_networks_have_one_key() -> None:
    blueprints = Blueprints(MADE.cfg, MADE)
    one, other = ({"width": width, "resolution": 8} for width in (0.25, 0.5))
    assert blueprints.key(one) == MADE.key(one) == blueprints.key(dict(one))
    assert blueprints.key(one) != blueprints.key(other)


def test_what_cannot_be_built() -> None:
    with pytest.raises(UsageError, match=r"width = 0\.0: wants a number above 0"):
        Blueprints(MADE.cfg, MADE).build({"width": 0.0, "resolution": 8})
