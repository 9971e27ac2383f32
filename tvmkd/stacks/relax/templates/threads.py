"""Whether a kernel should use threads: decided for each configuration by its estimated time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvmkd.stacks.relax.templates.cpu import Cpu

Config = dict[str, Any]
EXPECTED = "expected"
"""Where a configuration keeps the cycles that it is expected to take."""
SYNC = 12_000
"""Cycles that starting TVM's threads and waiting for the last of them takes."""


def with_threads(configs: Sequence[Config], serial: Sequence[float], cpu: Cpu) -> list[Config]:
    """Each configuration with and without threads, the fastest to be expected first.

    Args:
        configs: each has ``steps``, the turns of the loop that threads share.
        serial: cycles that each is expected to take on one core.
    """
    found: list[tuple[float, Config]] = []

    def add(config: Config, parallel: bool, cycles: float) -> None:
        found.append((cycles, {**config, "parallel": parallel, EXPECTED: cycles}))

    for config, cycles in zip(configs, serial, strict=True):
        add(config, False, cycles)
        if cpu.threads > 1 and config["steps"] > 1:
            share = math.ceil(config["steps"] / cpu.threads) / config["steps"]
            add(config, True, cycles * share + SYNC)
    found.sort(key=lambda item: item[0])
    return [config for _, config in found]
