"""Register tiles for cores that multiply a register by one lane of another, as NEON does.

AVX2 broadcasts a float as it loads it. With ``fmla v, v, v.s[i]`` one load of four inputs of a
pixel serves four steps of the reduction: a tile of eight pixels and one block of eight channels
takes 1.25 instructions a multiply-add instead of 1.9. What waits for its turn, inputs or weights,
occupies registers, so such tiles are smaller. While multiply-adds keep their unit busy, other
instructions cost little, but not nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tvmkd.stacks.relax.templates.cpu import Cpu

Config = dict[str, Any]
TOGETHER = "together"
"""Steps of the reduction whose inputs are loaded by one instruction; 1 where it is left out."""
LOOP = 3
"""Instructions of a turn of the innermost loop that compute nothing: two pointers and a jump."""
EACH = 0.1
"""Cycles that an instruction costs which is no multiply-add and waits for none."""


def variants(configs: Iterable[Config], each: int, readable: bool, cpu: Cpu) -> list[Config]:
    """Tiles with the cycles that they take on such a core, and those that load inputs together.

    Args:
        configs: of a template of register tiles.
        each: registers of a block.
        readable: whether the sum reads one input and the weights, and nothing else.
    """
    found: list[Config] = []
    for config in configs:
        pixels, blocks = config["rows"] * config["columns"], config["blocks"]
        occupied = (config["sums"] + blocks) * each
        if occupied + 2 <= cpu.registers:
            found.append({**config, "cycles": _cycles(config, each, 1, cpu)})
        waiting = (cpu.lanes - 1) * each if blocks == 1 else pixels
        if readable and occupied + waiting < cpu.registers and config["inner"] % cpu.lanes == 0:
            cycles = _cycles(config, each, cpu.lanes, cpu)
            found.append({**config, "cycles": cycles, TOGETHER: cpu.lanes})
    return found


def _cycles(config: Config, each: int, together: int, cpu: Cpu) -> float:
    """Cycles of a step for each block of sums."""
    pixels, blocks, sums = config["rows"] * config["columns"], config["blocks"], config["sums"]
    inputs = pixels / together
    loads = blocks * each + inputs
    # Neighbouring registers of weights are loaded in pairs; only one block is near its pointer.
    others = each / 2 + (blocks - 1) * each + inputs + LOOP / together
    busy = max(sums * each / cpu.fma, loads / cpu.loads, cpu.latency)
    return float((busy + EACH * others) / sums)
