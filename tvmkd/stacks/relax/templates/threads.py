"""Whether a kernel should use threads: decided for each configuration by its estimated time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvmkd.stacks.relax.templates.cpu import Cpu

Config = dict[str, Any]
SYNC = 12_000
"""Cycles that starting TVM's threads and waiting for the last of them takes."""


def with_threads(configs: Sequence[Config], serial: Sequence[float], cpu: Cpu) -> list[Config]:
    """Each configuration with and without threads, fastest first.

    Args:
        configs: each has ``steps``, the turns of the loop that threads share.
        serial: cycles that each is expected to take on one core.
    """
    found: list[tuple[float, Config]] = []
    for config, cycles in zip(configs, serial, strict=True):
        found.append((cycles, {**config, "parallel": False}))
        if cpu.threads > 1 and config["steps"] > 1:
            share = math.ceil(config["steps"] / cpu.threads) / config["steps"]
            found.append((cycles * share + SYNC, {**config, "parallel": True}))
    found.sort(key=lambda item: item[0])
    return [config for _, config in found]
