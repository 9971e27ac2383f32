"""One finding of a doctor, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]

GIB = 1 << 30


@dataclass(frozen=True)
class Check:
    """One finding: ``fix`` is the command, or the step, that mends it."""

    name: str
    status: Status
    finding: str
    fix: str = ""
