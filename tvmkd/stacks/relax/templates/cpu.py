"""The facts about a CPU that the templates and the cost model reckon with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cpu:
    """One core of the target, and how many of them a kernel may use.

    Attributes:
        threads: that a kernel may use.
        lanes: float32 values in a vector register.
        registers: vector registers.
        latency: cycles from one multiply-add to the next that adds to its result.
        fma: vector multiply-adds that start in a cycle.
        loads: vector loads that start in a cycle.
        l1, l2: bytes of the first and second data cache of one core.
        by_lane: whether a multiply-add takes one factor from a lane of a register.
        line: cycles that 64 bytes from memory cost one core; None: nobody said.
    """

    threads: int = 1
    lanes: int = 8
    registers: int = 16
    latency: int = 4
    fma: int = 2
    loads: int = 2
    l1: int = 32 << 10
    l2: int = 512 << 10
    by_lane: bool = False
    line: float | None = None

    @classmethod
    def of(cls, target: Mapping[str, Any]) -> Cpu:
        """Of a target (`Target.to_dict`); the defaults are for a CPU with AVX2."""
        facts = target.get("cpu") or {}
        return cls(threads=int(target["tvm"].get("num-cores") or 1), **facts)

    def in_registers(self, block: int) -> int:
        """How many blocks of so many floats can be summed up in registers: two stay free for
        what is loaded.
        """
        each = -(-block // self.lanes)
        return (self.registers - 2 * each) // each
