"""A sample of the networks of a space, to find the kernels that they are made of."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmkd.search.latency.filling import Network
from tvmkd.search.space import Space

if TYPE_CHECKING:
    from torch import nn

    from tvmkd.distill.task import Task

TRIES = 20
"""Draws for each network that is asked for: small spaces have fewer."""


def structures(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """Up to ``count`` structures of different networks; the same call gives the same ones.

    Raises:
        InputError: the schema refuses all networks of the space.
    """
    rng = np.random.default_rng([seed, count])
    found: dict[str, dict[str, Any]] = {}
    for _ in range(TRIES * count):
        drawn = space.draw(rng)
        found.setdefault(space.key(drawn), drawn)
        if len(found) == count or len(found) == space.size:
            break
    return list(found.values())


def networks(space: Space, task: Task, drawn: Sequence[Mapping[str, Any]]) -> list[Network]:
    """What `tvmkd.search.latency.filling.fill` makes these structures' networks with."""

    def make(structure: Mapping[str, Any]) -> tuple[nn.Module, Sequence[int]]:
        shape = space.shape(space.cfg, structure, task)
        return space.build(space.cfg, structure, task), shape

    return [functools.partial(make, structure) for structure in drawn]
