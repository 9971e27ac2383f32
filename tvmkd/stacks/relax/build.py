"""Builds libraries of the relax stack: applies schedules to the module, compiles and links it."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import s_tir, tirx

from tvmkd.base.manifest import LIBRARY
from tvmkd.base.runtimes import TVM
from tvmkd.runtime import nvrtc
from tvmkd.stacks.linker import Linker
from tvmkd.stacks.relax import (
    constants,
    executable,
    lookup,
    node_names,
    tensor_cores,
    vector_math,
)
from tvmkd.stacks.relax import cuda as relax_cuda
from tvmkd.stacks.relax.importer import Model
from tvmkd.stacks.relax.nan import keep_nan
from tvmkd.stacks.relax.objects import Objects
from tvmkd.stacks.relax.tasks import kernels, put_back, scheduled
from tvmkd.stacks.relax.templates import plain_space
from tvmkd.stacks.relax.templates.cpu import Cpu
from tvmkd.stacks.relax.templates.enumerated import EnumeratedSpace
from tvmkd.tuning.records import StoredRecord
from tvmkd.tuning.space import Task


def _called(nodes: Sequence[Sequence[str]] | None) -> dict[str, Any]:
    """How often a kernel runs, and for which ONNX nodes; empty where that is not known."""
    if not nodes:
        return {}
    return {"calls": len(nodes), "nodes": [name for names in nodes for name in names]}


@dataclass(frozen=True)
class Started:
    """Kernels that are being compiled.

    Attributes:
        asked: the records and whether default schedules are used: see `RelaxBuilder.library`.
        kernels: their names.
        folder: of their files; it is removed with them.
        objects: the processes that compile them.
    """

    asked: tuple[dict[str, StoredRecord], bool]
    kernels: list[str]
    folder: Path
    objects: Objects


class RelaxBuilder:
    """Implements :class:`tvmkd.stacks.builder.Builder`."""

    stack = "relax"
    version = tvm.__version__
    runtime = TVM

    def __init__(
        self,
        model: Model,
        tasks: Sequence[Task],
        target: tvm.target.Target,
        toolchain: Mapping[str, Any],
        byoc: Mapping[str, Any] | None = None,
        cpu: Cpu | None = None,
    ) -> None:
        self._cpu = cpu or Cpu()
        self.byoc = byoc
        self.tasks = {task.key: task for task in tasks}
        self._fused = model.fused
        self._target = target
        self._linker = Linker(toolchain)
        self._early: Started | None = None
        self._modules: dict[tuple[str, str], tvm.IRModule] = {}

    def library(self, chosen: Mapping[str, StoredRecord], path: Path, *, defaults: bool) -> Path:
        """Compiles with the records in ``chosen``; see the protocol.

        A GPU kernel needs a schedule with threads: tasks without a record get dlight's.
        """
        if self._target.kind.name == "llvm":
            early, self._early = self._early, None
            if early is not None and early.asked == (dict(chosen), defaults):
                return self._linked(early, path)
            with self._compiling(chosen, defaults) as started:
                return self._linked(started, path)
        whole = self._whole(chosen, defaults)
        vector_math.install()
        lookup.install()
        with tensor_cores.compiling(whole), self._target:
            made = tvm.compile(whole, self._target)
        made.export_library(str(path), fcompile=self._linker)
        return path

    def _whole(self, chosen: Mapping[str, StoredRecord], defaults: bool) -> tvm.IRModule:
        """The module with every kernel scheduled."""
        found = {key: self._scheduled(key, chosen, defaults) for key in self.tasks}
        whole = put_back(self._fused, {key: mod for key, mod in found.items() if mod is not None})
        if self._target.kind.name == "cuda":
            whole = relax_cuda.with_default_schedules(whole, self._target)
        return keep_nan(whole)

    @contextlib.contextmanager
    def ahead(self, chosen: Mapping[str, StoredRecord], *, defaults: bool) -> Iterator[None]:
        """Starts to compile the kernels; see the protocol."""
        if self._target.kind.name != "llvm":
            yield
            return
        with self._compiling(chosen, defaults) as self._early:
            try:
                yield
            finally:
                self._early = None

    @contextlib.contextmanager
    def _compiling(self, chosen: Mapping[str, StoredRecord], defaults: bool) -> Iterator[Started]:
        vector_math.install()
        lookup.install()

        def make(alone: tvm.IRModule, key: str) -> tirx.PrimFunc:
            return (self._scheduled(key, chosen, defaults) or alone)["main"]

        makers = {
            name.name_hint: functools.partial(make, alone, key)
            for name, alone, key in kernels(self._fused)
        }
        with (
            tempfile.TemporaryDirectory(prefix="tvmkd-objects-") as folder,
            Objects(makers, self._target, Path(folder)) as objects,
        ):
            yield Started((dict(chosen), defaults), list(makers), Path(folder), objects)

    def _linked(self, started: Started, path: Path) -> Path:
        """Compiles the rest while the kernels are compiled, and links all of it."""
        mod, large = self._fused, list[np.ndarray]()
        if constants.can_link(self._target):
            mod, large = constants.lift(mod)
        rest = executable.build(mod, self._target, without=started.kernels)
        written = constants.write(large, self._target, started.folder) if large else ()
        compiled = started.objects.result()
        rest.export_library(
            str(path),
            fcompile=self._linker,
            addons=[*map(str, (*compiled.objects, *written))],
            aliases=compiled.aliases,
        )
        return path

    def files(self, library: Path) -> Mapping[str, Path]:
        """The library alone; see the protocol."""
        return {LIBRARY: library}

    def over_rpc(self) -> RelaxBuilder:
        """This builder; see the protocol."""
        return self

    def _scheduled(
        self, key: str, chosen: Mapping[str, StoredRecord], defaults: bool
    ) -> tvm.IRModule | None:
        """A task with its record's schedule, or with the template's; None without a schedule."""
        task = self.tasks.get(key)
        if task is not None and key in chosen:
            return self._module(task, chosen[key])
        if task is None or not defaults or self._target.kind.name == "cuda":
            return None
        space = task.template or plain_space(task.mod, self._cpu)
        schedule = space.default() if isinstance(space, EnumeratedSpace) else None
        return None if schedule is None else schedule.mod

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
        return "template default" if task.template is not None else "simple loops"

    def kernel_facts(self, chosen: Mapping[str, StoredRecord]) -> dict[str, dict[str, Any]]:
        """The facts that a profile needs about each kernel, by its name in the library."""
        by_key = self.tasks
        nodes: dict[str, list[tuple[str, ...]]] = {}
        for kernel, names in node_names.read(self._fused):
            nodes.setdefault(kernel, []).append(names)
        return {
            name.name_hint: {
                "key": key,
                "kind": by_key[key].kind,
                "flop": by_key[key].flop,
                "measured_us": chosen[key].seconds * 1e6 if key in chosen else None,
                **({"ptxas": facts} if (facts := nvrtc.facts(name.name_hint)) else {}),
                **_called(nodes.get(name.name_hint)),
            }
            for name, _, key in kernels(self._fused)
            if key in by_key
        }
