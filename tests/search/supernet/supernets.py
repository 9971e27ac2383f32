"""A small space, a latency that is known, and what a search by a supernet needs, for tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import spaces
from onnx import load
from torch import nn

from tvmkd import config
from tvmkd.base.errors import InputError, MissingError
from tvmkd.config import Config
from tvmkd.models.macs import parameters
from tvmkd.search.latency.prediction import Kernel, KernelTime, Measured, Prediction
from tvmkd.search.space import Space
from tvmkd.search.study.bench import Plan
from tvmkd.search.supernet import corners
from tvmkd.search.supernet.blueprints import Blueprints
from tvmkd.search.supernet.networks import Networks
from tvmkd.targets import Target

SECTIONS: dict[str, dict[str, Any]] = {
    "data": {"dataset": "digits", "image_size": 8},
    "teacher": {"args": {"widths": [8], "depth": 1}, "epochs": 2},
    "student": {"args": {"stem": 8, "blocks": [[8, 1], [16, 1]]}},
    "distill": {"epochs": 2, "lr": 4e-3},
}
SETTINGS = {
    "epochs": 3,
    "samples": 1,
    "calibration": 64,
    "population": 4,
    "generations": 1,
    "winners": 2,
    "tuning_epochs": 2,
}
SPACE: dict[str, Any] = {
    "width": {"low": 0.5, "high": 2.0, "step": 0.5, "per_stage": True},
    "kernel": [3, 5],
}


def plan(folder: Path, latency: str = "supernets:open_latency", **search: Any) -> Plan:
    """A search; ``search`` changes keys of ``[search]``."""
    settings = {**SETTINGS, **search.pop("supernet", {})}
    sections = search.pop("sections", {})
    given = {"method": "supernet", "space": SPACE, "supernet": settings, **search}
    data = {"project": {"name": "a"}, **SECTIONS, **sections, "search": given}
    return Plan(config.parse(data), spaces.TARGET, folder, (folder,), latency=latency)


class Known:
    """A latency of a microsecond for each weight."""

    unit = "s"
    away = False
    """No board answers."""
    measured = 1.1
    """A measured time, as a share of the predicted."""

    def kernels(self, model: nn.Module | Path, shape: Sequence[int] | None = None) -> list[Kernel]:
        assert isinstance(model, nn.Module)
        assert shape is not None
        count = parameters(model)
        if count % 1000 == 13:
            raise InputError("13 is\nunlucky")
        return [Kernel("a", "a", "conv2d", 1, count)]

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        seconds = kernels[0].flop * 1e-6
        parts = [KernelTime(kernels[0], seconds, "measured")]
        return Prediction(seconds, 0.95 * seconds, 1.05 * seconds, parts)

    def predict_model(
        self, model: nn.Module | Path, shape: Sequence[int] | None = None
    ) -> Prediction:
        return self.predict(self.kernels(model, shape))

    def measure(self, onnx: Path) -> Measured:
        if self.away:
            raise MissingError("no board answers")
        count = sum(math.prod(each.dims) for each in load(onnx).graph.initializer)
        return Measured(self.measured * 1e-6 * count, 0.01, board_seconds=2.0)

    def describe(self) -> dict[str, Any]:
        return {"made": "up"}


def open_latency(cfg: Config, target: Target, folder: Path) -> Known:
    """What `plan` names."""
    del cfg, target, folder
    return Known()


def networks(asked: Plan) -> Networks:
    """The networks of a plan's space, not trained."""
    space = Space.from_config(asked.cfg, asked.target, asked.search_in)
    blueprints = Blueprints(asked.cfg, space)
    ends = corners.find(blueprints)
    return Networks(blueprints, ends, blueprints.build(ends.largest))
