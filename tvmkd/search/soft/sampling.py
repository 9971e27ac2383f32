"""A sample of the structures of a student, to find the kernels that a latency table needs."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from tvmkd.search.latency.filling import Network
from tvmkd.search.soft.choices import Choice, Structure
from tvmkd.search.soft.cut import cut
from tvmkd.search.soft.find import find

if TYPE_CHECKING:
    from tvmkd.config import Config
    from tvmkd.distill.task import Task
    from tvmkd.targets import Target

WHOLE = 0.5  # of the choices stay whole: what is asked about a choice has the others whole


def networks(cfg: Config, target: Target, task: Task, count: int, seed: int) -> list[Network]:
    """What `tvmkd.search.latency.filling.fill` makes networks with: the student, cut in many ways.

    Args:
        cfg: its student, and ``[distill] shape``.
        target: gives the multiple of channel counts.
        task: what the student learns.
        count: how many; the first one is the whole student.
        seed: of the structures.

    Raises:
        InputError: the student cannot be built, or nothing can be taken out of it.
    """
    spec = cfg.student.model
    kwargs = task.arguments(spec, cfg.student.args, target.channel_multiple)
    network = task.build(spec, kwargs, "student").eval()
    shape = task.input_shape
    choices = find(
        network,
        {"spec": spec, "kwargs": kwargs},
        shape,
        task.fixed_outputs(network),
        target.channel_multiple,
        cfg.distill.shape,
    )

    def make(structure: Structure) -> tuple[nn.Module, Sequence[int]]:
        return cut(network, choices, structure), shape

    return [functools.partial(make, each) for each in structures(choices, count, seed)]


def structures(choices: Sequence[Choice], count: int, seed: int) -> list[Structure]:
    """The whole network, then random structures in which about half of the choices are whole."""
    draw = random.Random(seed)
    found: list[Structure] = [{}]
    while len(found) < count:
        found.append(
            {
                choice.name: draw.choice(choice.options[1:])
                for choice in choices
                if draw.random() >= WHOLE
            }
        )
    return found[:count]
