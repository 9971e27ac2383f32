"""One finding of `tvmkd doctor`, and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]

GIB = 1 << 30


@dataclass(frozen=True)
class Check:
    """One finding; ``fix`` is the command or step that solves it, empty if none is needed."""

    name: str
    status: Status
    finding: str
    fix: str = ""
