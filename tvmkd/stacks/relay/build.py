"""Builds libraries of the relay stack with the schedules of tuning records.

A graph executor runs them, or a virtual machine if shapes depend on the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import tvm
from tvm import auto_scheduler, relay

from tvmkd.base.manifest import LIBRARY
from tvmkd.base.runtimes import TVM
from tvmkd.stacks.linker import Linker
from tvmkd.stacks.relay.importer import Model
from tvmkd.stacks.relay.nan import lower_pass
from tvmkd.stacks.relay.sketch import restore
from tvmkd.tuning.autoscheduler_log import task_key
from tvmkd.tuning.records import StoredRecord
from tvmkd.tuning.space import Task


class RelayBuilder:
    """Implements :class:`tvmkd.stacks.builder.Builder`."""

    stack = "relay"
    version = tvm.__version__
    runtime = TVM
    byoc: Mapping[str, Any] | None = None

    def __init__(
        self,
        model: Model,
        lowered: tvm.IRModule,
        tasks: Sequence[Task],
        target: tvm.target.Target,
        toolchain: Mapping[str, Any],
        tensorrt: tuple[int, int, int] | None = None,
    ) -> None:
        self.tasks = {task.key: task for task in tasks}
        self._plain = model.mod
        self._machine = model.needs_machine
        self._lowered = lowered
        self._target = target
        self._tensorrt = tensorrt
        self._linker = Linker(toolchain)
        self._inputs: dict[tuple[str, str], Any] = {}
        self._names: dict[str, str] = {}  # of the last build: each kernel's task key

    def ahead(
        self, chosen: Mapping[str, StoredRecord], *, defaults: bool
    ) -> AbstractContextManager[None]:
        """Does nothing: Relay compiles a module as a whole."""
        del chosen, defaults
        return nullcontext()

    def files(self, library: Path) -> Mapping[str, Path]:
        """The library alone; see the protocol."""
        return {LIBRARY: library}

    def over_rpc(self) -> RelayBuilder:
        """This builder; see the protocol."""
        return self

    def library(self, chosen: Mapping[str, StoredRecord], path: Path, *, defaults: bool) -> Path:
        """Compiles with the records in ``chosen``; see the protocol.

        Without any record the whole model runs TOPI's default schedules in NCHW, the layout that
        they are best in. With at least one, tasks without a record run TOPI's NHWC schedules.
        """
        if self._tensorrt is not None:
            from tvmkd.stacks.relay import tensorrt as relay_tensorrt

            built = relay_tensorrt.compile_with(self._plain, self._target, self._tensorrt)
            built.export_library(str(path), fcompile=self._linker)
            return path
        tuned = bool(chosen) or not defaults
        best = [
            (self._restored(self.tasks[key], record), _result(record))
            for key, record in chosen.items()
        ]
        config = {
            "relay.backend.use_auto_scheduler": tuned,
            "tir.add_lower_pass": [lower_pass()],
        }
        context = _Noting(best)
        with context, tvm.transform.PassContext(opt_level=3, config=config):
            mod = self._lowered if tuned else self._plain
            if self._machine:
                library = relay.vm.compile(mod, target=self._target).mod
            else:
                library = relay.build(mod, target=self._target)
        self._names = context.names
        library.export_library(str(path), fcompile=self._linker)
        return path

    def _restored(self, task: Task, record: StoredRecord) -> Any:
        place = (task.key, record.key)
        if place not in self._inputs:
            self._inputs[place] = restore(record.record)
        return self._inputs[place]

    def fits(self, task: Task, record: StoredRecord) -> bool:
        """Whether the record's steps can be applied to the task."""
        try:
            measured = self._restored(task, record)
            measured.task.compute_dag.apply_steps_from_state(measured.state)
        except (tvm.error.TVMError, ValueError, KeyError):
            return False
        return True

    def default_schedule(self, task: Task) -> str:
        """TOPI's."""
        del task
        return "TOPI default"

    def kernel_facts(self, chosen: Mapping[str, StoredRecord]) -> dict[str, dict[str, Any]]:
        """The facts about each task, by its name in the library."""
        return {
            name: {
                "key": key,
                "kind": self.tasks[key].kind,
                "flop": self.tasks[key].flop,
                "measured_us": chosen[key].seconds * 1e6 if key in chosen else None,
            }
            for name, key in self._names.items()
            if name.startswith("tvmgen_") and key in self.tasks  # else from the layout's rewrite
        }


class _Noting(auto_scheduler.ApplyHistoryBest):  # type: ignore[misc]
    """Records which kernel belongs to which task, since a build chooses its own kernel names."""

    def __init__(self, best: Sequence[Any]) -> None:
        super().__init__(best)
        self.names: dict[str, str] = {}
        self._rewritten: dict[str, str] = {}
        self._last = ""

    def _query_inside(self, target: Any, workload_key: str, func_name: str) -> Any:
        self._last = self._rewritten.get(workload_key, task_key(workload_key))
        self.names[func_name] = self._last
        return super()._query_inside(target, workload_key, func_name)

    def update(self, target: Any, workload_key: str, state: Any) -> None:
        # Called for the task of the last query, after the layout of its weights was rewritten.
        self._rewritten[workload_key] = self._last
        super().update(target, workload_key, state)


def _result(record: StoredRecord) -> auto_scheduler.MeasureResult:
    return auto_scheduler.MeasureResult([record.seconds], 0, "", record.seconds, 0)
