"""Register tiles for cores that multiply a register by one lane of another, as NEON does.

AVX2 broadcasts a float as it loads it. With ``fmla v, v, v.s[i]`` one load of four inputs of a
pixel serves four steps of the reduction: a tile of eight pixels and one block of eight channels
takes 1.22 instructions a multiply-add instead of 1.9. What waits for its turn, inputs or weights,
occupies registers, so such tiles are smaller. While multiply-adds keep their unit busy, other
instructions cost little, but not nothing.

An image of three channels has no four neighbours of a pixel. Its window's row is one run of floats,
and so are the rows of all windows of a tile: they are loaded as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tvmkd.stacks.relax.templates.cpu import Cpu

Config = dict[str, Any]
TOGETHER = "together"
"""Steps of the reduction whose inputs are loaded by one instruction; 1 where it is left out."""
TURNS = "turns"
"""Turns of the loop over such steps that are written one after the other."""
RUN = "run"
"""Floats of the rows of all windows of a tile, loaded as a whole; left out: they are not."""
LOOP = 4
"""Instructions of a turn of the innermost loop that compute nothing: two pointers, a comparison and
a jump.
"""
EACH = 0.1
"""Cycles that an instruction costs which is no multiply-add and waits for none."""
MOST_STEPS = 32
"""Of a row of a window that is loaded as a whole: they are written one after the other."""


def variants(
    configs: Iterable[Config],
    each: int,
    readable: bool,
    cpu: Cpu,
    window: tuple[int, int] | None = None,
) -> list[Config]:
    """Tiles with the cycles that they take on such a core, and those that load inputs together.

    Args:
        configs: of a template of register tiles.
        each: registers of a block.
        readable: whether the sum reads one input and the weights, and nothing else.
        window: columns of a convolution's window whose row is one run of floats, and its stride;
            None: there is no such window.
    """
    found: list[Config] = []
    for config in configs:
        pixels, blocks, inner = (
            config["rows"] * config["columns"],
            config["blocks"],
            config["inner"],
        )
        occupied = (config["sums"] + blocks) * each
        if occupied + min(pixels, inner) <= cpu.registers:
            # LLVM unrolls a loop over few channels.
            turns = inner if inner < cpu.lanes else 1
            found.append({**config, "cycles": _cycles(config, each, pixels, 1, turns, cpu)})
        together = next((n for n in (cpu.lanes, cpu.lanes // 2) if n > 1 and inner % n == 0), 1)
        if readable and together > 1:
            waiting = (together - 1) * each if blocks == 1 else pixels
            turns = 1 if inner // together % 2 else 2
            if occupied + waiting < cpu.registers:
                cycles = _cycles(config, each, pixels / together, together, turns, cpu)
                found.append({**config, "cycles": cycles, TOGETHER: together, TURNS: turns})
        elif readable and window is not None and window[0] * inner <= MOST_STEPS:
            columns, stride = window
            run = ((config["columns"] - 1) * stride + columns) * inner
            vectors = config["rows"] * -(-run // cpu.lanes)
            steps = columns * inner
            if occupied + vectors <= cpu.registers:
                cycles = _cycles(config, each, vectors / steps, 1, steps, cpu)
                found.append({**config, "cycles": cycles, RUN: run})
    return found


def _cycles(config: Config, each: int, inputs: float, together: int, turns: int, cpu: Cpu) -> float:
    """Cycles of a step for each block of sums, with so many loads of inputs a step."""
    blocks, sums = config["blocks"], config["sums"]
    loads = blocks * each + inputs
    # Neighbouring registers of weights are loaded in pairs; only one block is near its pointer.
    others = each / 2 + (blocks - 1) * each + inputs + LOOP / together / turns
    busy = max(sums * each / cpu.fma, loads / cpu.loads, cpu.latency)
    return float((busy + EACH * others) / sums)
