"""A sample of the networks of a space, to find the kernels that they are made of."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmkd.search.exits import everything
from tvmkd.search.latency.filling import Filled, Network, fill
from tvmkd.search.latency.prediction import Latency
from tvmkd.search.latency.table import LatencyTable
from tvmkd.search.space import Space

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import nn

    from tvmkd.distill.task import Task

NETWORKS, WHOLE = 64, 16
"""Networks of a space that are lowered before a search, and those of them that are timed whole."""
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
    """What `tvmkd.search.latency.filling.fill` makes these structures' networks with.

    Each in its precision, and with all of its exits.
    """

    def make(structure: Mapping[str, Any]) -> tuple[nn.Module | Path, Sequence[int] | None]:
        if space.apply(space.cfg, structure).export.precision != "fp32":
            return space.onnx(space.cfg, structure, task, space.folder), None
        network = everything(space.build(space.cfg, structure, task))
        return network, space.shape(space.cfg, structure, task)

    return [functools.partial(make, structure) for structure in drawn]


def prepare(
    latency: Latency,
    space: Space,
    task: Task,
    *,
    count: int = NETWORKS,
    whole: int = WHOLE,
    seed: int = 0,
    progress: Progress | None = None,
) -> Filled | None:
    """Measures what a latency table lacks for the networks of a space, before they are searched.

    Args:
        latency: a table with boards is filled, anything else is left as it is.
        space: its networks.
        task: what they learn.
        count: networks to find kernels in.
        whole: networks to time whole, those of earlier calls included.
        seed: of the sample.
        progress: shows a bar for each step.

    Returns:
        what was done; None where there is nothing to fill.

    Raises:
        InputError: no network of the space can be lowered.
        MissingError: no board answers; what was measured is kept.
    """
    if not isinstance(latency, LatencyTable) or latency.boards is None:
        return None
    drawn = structures(space, count, seed)
    made = networks(space, task, drawn)
    return fill(latency, made, whole=whole, seed=seed, progress=progress)
