"""A builder whose libraries are lists of records, and a reference that knows the wrong ones."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tvmkd.base.agreement import Result, Verdict
from tvmkd.export.check import ModelInfo
from tvmkd.tuning.records import StoredRecord
from tvmkd.tuning.space import Task

DEFAULT = "default"


def task(key: str, *, weight: int = 1, flop: float = 1e6, kind: str = "conv2d") -> Task:
    nothing: Any = None
    return Task(f"kernel of {key}", key, nothing, nothing, weight, flop, kind)


def record(task_key: str, key: str, seconds: float = 1e-3, folder: Path = Path()) -> StoredRecord:
    return StoredRecord(folder, task_key, key, seconds, [], None)


class FakeBuilder:
    """Writes the chosen records into the "library"; notes each build in ``builds``."""

    stack, version, runtime = "fake", "1.0", "tvm"

    def __init__(self, *tasks: Task, misfits: tuple[str, ...] = ()) -> None:
        self.tasks = {each.key: each for each in tasks}
        self.byoc: Mapping[str, Any] | None = None
        self.builds: list[tuple[str, list[str], bool]] = []
        self.early: list[tuple[list[str], bool]] = []
        self._misfits = misfits
        self.plain: FakeBuilder | None = None

    def ahead(
        self, chosen: Mapping[str, StoredRecord], *, defaults: bool
    ) -> contextlib.AbstractContextManager[None]:
        self.early.append(([chosen[key].key for key in chosen], defaults))
        return contextlib.nullcontext()

    def library(self, chosen: Mapping[str, StoredRecord], path: Path, *, defaults: bool) -> Path:
        self.builds.append((path.name, [chosen[key].key for key in chosen], defaults))
        kernels = {key: chosen[key].key for key in chosen}
        if defaults:
            kernels = {**dict.fromkeys(self.tasks, DEFAULT), **kernels}
        path.write_text(json.dumps(kernels))
        return path

    def files(self, library: Path) -> Mapping[str, Path]:
        return {"model.so": library}

    def over_rpc(self) -> FakeBuilder:
        return self.plain or self

    def fits(self, task: Task, record: StoredRecord) -> bool:
        return record.task == task.key and record.key not in self._misfits

    def default_schedule(self, task: Task) -> str:
        return f"default of {task.kind}"

    def kernel_facts(self, chosen: Mapping[str, StoredRecord]) -> dict[str, dict[str, Any]]:
        return {key: {"key": key, "tuned": key in chosen} for key in self.tasks}


class FakeReference:
    """Says that a library is wrong if one of ``wrong`` is in it: ``(task key, record key)``.

    ``(task key, DEFAULT)`` stands for a wrong default schedule. ``always``: a wrong importer.
    """

    stack = "fake"
    on: dict[str, Any]

    def __init__(self, *wrong: tuple[str, str], always: bool = False) -> None:
        self._wrong, self._always = set(wrong), always
        self.samples, self.tolerance, self.on = [1, 2, 3], 1e-3, {}

    def judge(self, library: Path) -> Verdict:
        kernels = set(json.loads(library.read_text()).items())
        bad = sorted(kernels & self._wrong)
        if bad or self._always:
            return Verdict(False, 0.5, f"outputs differ: {bad}")
        return Verdict(True, 1e-6, outputs=(Result("y", True, 1e-6, 1e-4),))


def model(path: Path) -> Any:
    """An imported model, as far as a build looks at it."""
    spec = {"name": "x", "shape": [2, 3], "dtype": "float32"}
    info = ModelInfo(path, (), (), "ab" * 32, 17, {}, metadata={"author": "a test"})
    return SimpleNamespace(info=info, inputs=[spec], outputs=[{**spec, "name": "y"}])
