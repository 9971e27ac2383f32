"""Small networks whose structure is learnt, and the choices about them."""

from __future__ import annotations

import functools
from typing import Any

import torch
from made_up_latency import MadeUpLatency
from torch import nn

from tvmkd import models
from tvmkd.search.soft import find
from tvmkd.search.soft.choices import Choice
from tvmkd.search.soft.survey import Asker

SHAPE = (1, 1, 16, 16)
SPECS: dict[str, dict[str, Any]] = {
    "residual": {"classes": 10, "widths": [16, 32], "depth": 2},
    "depthwise": {"classes": 10, "stem": 16, "blocks": [[32, 1], [32, 1]]},
    "bottleneck": {"classes": 10, "size": 16, "width": 0.5},
    "mlp": {"classes": 10, "size": 16},
}


def build(spec: str) -> nn.Module:
    """One of `SPECS`, with the weights of seed 0."""
    torch.manual_seed(0)
    return models.build(spec, **SPECS[spec])


def recipe(spec: str) -> dict[str, Any]:
    """What a checkpoint says that it is built from."""
    return {"spec": spec, "kwargs": SPECS[spec]}


def fixed(network: nn.Module) -> list[nn.Module]:
    """The layer that gives the classes."""
    return [network.get_submodule("head")]


@functools.cache
def choices(spec: str) -> tuple[Choice, ...]:
    """All choices about one of `SPECS`, at a multiple of 8."""
    network = build(spec)
    return tuple(find.find(network, recipe(spec), SHAPE, fixed(network), 8))


@functools.cache
def asker(spec: str) -> Asker:
    """The made-up latencies of one of `SPECS`: all tests share what was asked."""
    return Asker(MadeUpLatency(depthwise=4.0), build(spec).eval(), choices(spec), SHAPE)
