"""Builds the plain networks of a space, each with the task for its size of images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from tvmkd.distill import tasks
from tvmkd.distill.task import Task
from tvmkd.search import structure as structures

if TYPE_CHECKING:
    from tvmkd.config import Config
    from tvmkd.search.space import Space


class Blueprints:
    """From a structure to its config, its task and its network.

    Args:
        cfg: the config that structures are applied to.
        space: of structures.
        make: makes the task of a config; None: what its ``[data]`` names.
    """

    def __init__(
        self, cfg: Config, space: Space, make: Callable[[Config], Task] | None = None
    ) -> None:
        self.cfg, self.space = cfg, space
        self._make = make or (lambda one: tasks.make(one, space.search_in))
        self._tasks: dict[str, Task] = {}
        self._keys: dict[str, str] = {}

    def key(self, structure: Mapping[str, Any]) -> str:
        """`Space.key`; structures with one key build the same network."""
        text = json.dumps(structure, sort_keys=True)
        if text not in self._keys:
            self._keys[text] = self.space.key(structure)
        return self._keys[text]

    def config(self, structure: Mapping[str, Any]) -> Config:
        """The config of one network.

        Raises:
            InputError: the schema refuses the values together.
        """
        return self.space.apply(self.cfg, structure)

    def task(self, structure: Mapping[str, Any]) -> Task:
        """What the network learns, with images of its size."""
        cfg = self.config(structure)
        key = cfg.data.model_dump_json()
        if key not in self._tasks:
            self._tasks[key] = self._make(cfg)
        return self._tasks[key]

    def model(self, structure: Mapping[str, Any]) -> dict[str, Any]:
        """What a checkpoint says that the network is built from: ``spec`` and ``kwargs``."""
        student, task = self.config(structure).student, self.task(structure)
        kwargs = task.arguments(student.model, student.args, self.space.multiple)
        return {"spec": student.model, "kwargs": kwargs}

    def build(self, structure: Mapping[str, Any], seed: int = 0) -> nn.Module:
        """The network with the weights that ``seed`` gives, on the CPU.

        Raises:
            InputError: it cannot be built, or does not fit the data; names the structure.
        """
        model = self.model(structure)
        name = f"{structures.text(structure)}:"
        return self.task(structure).build(model["spec"], model["kwargs"], name, seed)
