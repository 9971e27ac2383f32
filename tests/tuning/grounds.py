"""A stack with boards that run its kernels, for tests of what holds for every stack."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny_kernels

from tvmkd.boards.fleet import Fleet, running_fleet
from tvmkd.runtime.interpreters import Interpreter
from tvmkd.tuning.measurement import WRONG


@dataclass(frozen=True)
class Ground:
    """A stack, and a fleet that runs its kernels."""

    stack: str
    fleet: Fleet
    runs: Interpreter

    def pair(self) -> AbstractContextManager[Fleet]:
        """Two more boards, to be killed or frozen."""
        return running_fleet(2, key="pair", threads=1, runs=self.runs)

    def tune(self, folder: Path, **settings: Any) -> dict[str, Any]:
        return tiny_kernels.tune(folder, self.fleet.address(), stack=self.stack, **settings)

    def start(self, folder: Path, fleet: Fleet | None = None, **settings: Any) -> Any:
        address = (fleet or self.fleet).address()
        return tiny_kernels.start(folder, address, stack=self.stack, **settings)


def faults(errors: Mapping[str, int]) -> dict[str, int]:
    """Failed trials by kind, without the kernels that this machine's TVM has miscompiled."""
    return {kind: count for kind, count in errors.items() if kind != WRONG}
