"""Builds libraries of the relax stack: applies schedules to the module, compiles and links it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tvm
from tvm import s_tir

from tvmkd.runtime import nvrtc
from tvmkd.stacks.linker import Linker
from tvmkd.stacks.relax import cuda as relax_cuda
from tvmkd.stacks.relax import vector_math
from tvmkd.stacks.relax.importer import Model
from tvmkd.stacks.relax.nan import keep_nan
from tvmkd.stacks.relax.tasks import kernels, put_back, scheduled
from tvmkd.stacks.relax.templates.enumerated import EnumeratedSpace
from tvmkd.tuning.records import StoredRecord
from tvmkd.tuning.space import Task


class RelaxBuilder:
    """Implements :class:`tvmkd.stacks.builder.Builder`."""

    stack = "relax"
    version = tvm.__version__

    def __init__(
        self,
        model: Model,
        tasks: Sequence[Task],
        target: tvm.target.Target,
        toolchain: Mapping[str, Any],
        byoc: Mapping[str, Any] | None = None,
    ) -> None:
        self.byoc = byoc
        self.tasks = {task.key: task for task in tasks}
        self._fused = model.fused
        self._target = target
        self._linker = Linker(toolchain)
        self._modules: dict[tuple[str, str], tvm.IRModule] = {}

    def library(self, chosen: Mapping[str, StoredRecord], path: Path, *, defaults: bool) -> Path:
        """Compiles with the records in ``chosen``; see the protocol.

        A GPU kernel needs a schedule with threads: tasks without a record get dlight's.
        """
        modules: dict[str, tvm.IRModule] = {}
        for key, task in self.tasks.items():
            if key in chosen:
                modules[key] = self._module(task, chosen[key])
            elif defaults and isinstance(task.template, EnumeratedSpace):
                schedule = task.template.default()
                if schedule is not None:
                    modules[key] = schedule.mod
        whole = put_back(self._fused, modules)
        if self._target.kind.name == "cuda":
            whole = relax_cuda.with_default_schedules(whole, self._target)
        vector_math.install()
        with self._target:
            executable = tvm.compile(keep_nan(whole), self._target)
        executable.export_library(str(path), fcompile=self._linker)
        return path

    def _module(self, task: Task, record: StoredRecord) -> tvm.IRModule:
        place = (task.key, record.key)
        if place not in self._modules:
            self._modules[place] = scheduled(task, record)
        return self._modules[place]

    def fits(self, task: Task, record: StoredRecord) -> bool:
        """Whether the record's trace can be applied to the task."""
        try:
            self._module(task, record)
        except (s_tir.ScheduleError, tvm.error.InternalError, ValueError):
            return False
        return True

    def default_schedule(self, task: Task) -> str:
        """dlight's on a GPU, else the template's, or none."""
        if task.target.kind.name == "cuda":
            return "dlight default"
        return "template default" if task.template is not None else "none"

    def kernel_facts(self, chosen: Mapping[str, StoredRecord]) -> dict[str, dict[str, Any]]:
        """The facts that a profile needs about each kernel, by its name in the library."""
        by_key = self.tasks
        return {
            name.name_hint: {
                "key": key,
                "kind": by_key[key].kind,
                "flop": by_key[key].flop,
                "measured_us": chosen[key].seconds * 1e6 if key in chosen else None,
                **({"ptxas": facts} if (facts := nvrtc.facts(name.name_hint)) else {}),
            }
            for name, _, key in kernels(self._fused)
            if key in by_key
        }
