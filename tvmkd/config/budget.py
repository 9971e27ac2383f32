"""The text of a latency budget: ``5ms``, ``1.5 s``, ``800us``, or ``12M`` instructions."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

Unit = Literal["ms", "M"]

_MS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
_MILLIONS = {"k": 1e-3, "M": 1.0, "G": 1e3}
_TEXT = re.compile(r"\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)\s*([A-Za-zµ]*)\s*")


@dataclass(frozen=True)
class Budget:
    """The greatest latency that a network may have.

    Attributes:
        value: in ``unit``, above 0.
        unit: ``ms``, or ``M``: millions of what is counted where no clock is: instructions on
            emulated boards, multiply-accumulates without a board.
    """

    value: float
    unit: Unit = "ms"

    def __str__(self) -> str:
        return f"{self.value:g} ms" if self.unit == "ms" else f"{self.value:g}M"


def parse_budget(given: str | float) -> Budget:
    """Reads a budget; a plain number is in milliseconds.

    Raises:
        ValueError: it is no number above 0, or has another unit.
    """
    found = None if isinstance(given, bool) else _TEXT.fullmatch(str(given))
    if found is None:
        raise ValueError(
            "wants a latency such as 5ms, 1.5s or 800us, or 12M instructions; a plain number is in "
            "milliseconds"
        )
    number, unit = float(found[1]), found[2] or "ms"
    if unit not in _MS and unit not in _MILLIONS:
        known = ", ".join([*_MS, *_MILLIONS])
        raise ValueError(f'unknown unit "{unit}"; known: {known}')
    value = number * (_MS[unit] if unit in _MS else _MILLIONS[unit])
    if not 0 < value < math.inf:
        raise ValueError("a budget is above 0")
    return Budget(float(f"{value:.12g}"), "ms" if unit in _MS else "M")
