"""A stack with boards that run its kernels, for tests of what holds for every stack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny_kernels

from tvmkd.boards.fleet import Fleet
from tvmkd.stacks.interpreters import Interpreter


@dataclass(frozen=True)
class Ground:
    """A stack, and a fleet that runs its kernels."""

    stack: str
    fleet: Fleet
    runs: Interpreter

    def tune(self, folder: Path, **settings: Any) -> dict[str, Any]:
        return tiny_kernels.tune(folder, self.fleet.address(), stack=self.stack, **settings)

    def start(self, folder: Path, fleet: Fleet | None = None, **settings: Any) -> Any:
        address = (fleet or self.fleet).address()
        return tiny_kernels.start(folder, address, stack=self.stack, **settings)
