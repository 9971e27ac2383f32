"""Engine processes that are not there: they note what is asked of them and answer at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvmkd.base.errors import TvmkdError
from tvmkd.bench import measure, session
from tvmkd.bench.messages import Loaded
from tvmkd.bench.spec import EngineSpec
from tvmkd.timing.loop import WarmUp

KIND = "bench.engines_for_tests:Matmul"
SHAPE = ["n", 2]


class FakeProcess:
    """Stands in for `tvmkd.bench.process.EngineProcess`.

    Options of its spec: ``call_s`` (default 0.001; a list has one value for each build), ``off``
    (error of its outputs), ``fails_at`` (the round in which it fails, from 0), ``fails_in``
    ("prepare" or "facts"), ``fails_at_start`` (the start whose first round fails, from 0).
    """

    log: list[tuple[Any, ...]]

    def __init__(
        self, spec: EngineSpec, threads: int, cpus: Sequence[int], padding: int = 0
    ) -> None:
        self.spec, self.threads, self.cpus, self.padding = spec, threads, cpus, padding
        self.other_cpu: list[float] = []
        self.rounds = 0
        self.start = sum(call[:2] == ("start", spec.name) for call in self.log)
        self.log.append(("start", spec.name, spec.path, dict(spec.options)))

    def __enter__(self) -> FakeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.log.append(("close", self.spec.name))

    def signature(self, onnx: Path) -> Any:
        tensor = {"name": "x", "shape": SHAPE, "dtype": "float32"}
        return {"inputs": [tensor], "outputs": [{**tensor, "name": "y"}]}

    def prepare(
        self, paths: Sequence[Path], names: Sequence[str], folder: Path, timeout: float
    ) -> Any:
        self.log.append(("prepare", self.spec.name, len(paths), timeout))
        if self.spec.options.get("fails_in") == "prepare":
            raise TvmkdError("it does not load")
        off = np.float32(self.spec.options.get("off", 0.0))
        outputs = [[np.full((1, 2), number + 1 + off)] for number in range(len(paths))]
        return Loaded(0.5, 10), outputs

    def warm_up(self, limit_s: float) -> WarmUp:
        self.log.append(("warm_up", self.spec.name, limit_s))
        return WarmUp(1.0, 100, 1.0, True, 0.0, self._call_s())

    def _call_s(self) -> float:
        found = self.spec.options.get("call_s", 0.001)
        return float(found[self.spec.options["build"] - 1] if isinstance(found, list) else found)

    def time(self, count: int, limit_s: float) -> list[float]:
        self.log.append(("time", self.spec.name, count, limit_s))
        self.rounds += 1
        options = self.spec.options
        if (
            options.get("fails_at") == self.rounds - 1
            or options.get("fails_at_start") == self.start
        ):
            raise TvmkdError("it crashed")
        return [self._call_s() * 1e3] * count

    def facts(self) -> dict[str, Any]:
        if self.spec.options.get("fails_in") == "facts":
            raise TvmkdError("it says nothing")
        return {"version": "1"}


def plant(patch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Puts them where `compare` starts engines; returns the log of all calls."""
    log: list[tuple[Any, ...]] = []
    patch.setattr(FakeProcess, "log", log, raising=False)
    patch.setattr(measure, "EngineProcess", FakeProcess)
    patch.setattr(session, "EngineProcess", FakeProcess)
    return log


def engine(name: str, **options: Any) -> EngineSpec:
    """One of these engines."""
    return EngineSpec(name, KIND, options=options)
