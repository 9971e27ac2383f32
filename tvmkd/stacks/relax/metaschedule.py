"""The tuner backend of the relax stack: MetaSchedule's traces and database, and TIR modules."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.runtime.tvm_process import import_compiler
from tvmkd.tuning import record_lines, records
from tvmkd.tuning.space import Candidate, Space, Task, plain

if TYPE_CHECKING:
    from tvmkd.tuning.tuner_backend import Arguments, Stored

__all__ = [
    "canary",
    "compile_object",
    "import_compiler",
    "plain_loops",
    "recorder",
    "setup",
    "source",
    "spaces",
    "uses_threads",
    "warm_up",
]


class Recorder:
    """Appends to the two files of a MetaSchedule database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._workloads = {
            records.normal_key(hex(int(line[0]))): index
            for index, line in enumerate(
                records.read_lines(folder / records.WORKLOADS, record_lines.workload)
            )
        }

    def add(self, task: Task, candidate: Candidate, figure: float) -> None:
        """Appends one record, and its workload if that is new."""
        from tvm.s_tir import meta_schedule as ms

        key = records.normal_key(task.key)
        workload = ms.database.Workload(task.mod)
        if key not in self._workloads:
            line = plain(workload.as_json())
            if records.normal_key(hex(int(line[0]))) != key:
                raise ValueError(f"task {task.name}: its key {key} is not its module's hash")
            records.append_line(self._folder / records.WORKLOADS, line)
            self._workloads[key] = len(self._workloads)
        record = ms.database.TuningRecord(
            candidate.schedule.trace,
            workload,
            [figure],
            task.target,
            ms.arg_info.ArgInfo.from_entry_func(candidate.schedule.mod, remove_preproc=True),
        )
        line = [self._workloads[key], plain(record.as_json())]
        records.append_line(self._folder / records.RECORDS, line)


def recorder(folder: Path) -> Recorder:
    """The writer of a folder's database."""
    return Recorder(folder)


def spaces(tasks: Sequence[Task], stored: Stored, seed: int) -> list[Space]:
    """Each task's template, or else evolutionary search; all searches share a cost model."""
    model = None
    found: list[Space] = []
    for task in tasks:
        if task.template is not None:
            found.append(task.template)
            continue
        from tvmkd.stacks.relax.evolution import EvolutionSpace, cost_model

        if model is None:
            model = cost_model(seed)
        found.append(EvolutionSpace(task, stored(task.key), model))
    return found


def setup(tasks: Sequence[Task]) -> Any:
    """The target, as TVM's JSON."""
    import tvm

    return tvm.ir.save_json(tasks[0].target)


def source(candidate: Candidate) -> str:
    """The scheduled module, as TVM's JSON."""
    import tvm

    text: str = tvm.ir.save_json(candidate.schedule.mod)
    return text


def plain_loops(task: Task, candidate: Candidate) -> str | None:
    """None: here the schedule itself rewrites the layout of the weights."""
    del task, candidate
    return None


def uses_threads(candidate: Candidate) -> bool:
    """Whether a loop is parallel."""
    return "T.parallel(" in candidate.schedule.mod.script()


CANARY_FLOATS = 16_384
"""64 KiB a buffer: in the nearest caches of a core, and many lines to pass on."""


def canary(target: Mapping[str, Any]) -> str | None:
    """Two loops on all cores; the second reads backwards what the first has written."""
    from tvm import te
    from tvm.ir import IRModule, save_json
    from tvm.s_tir import Schedule

    cores = int((target.get("tvm") or {}).get("num-cores", 1))
    if target.get("device", "cpu") != "cpu":
        return None
    a = te.placeholder((CANARY_FLOATS,), name="a")
    b = te.compute((CANARY_FLOATS,), lambda i: a[i] * 2.0 + 1.0, name="b")
    c = te.compute((CANARY_FLOATS,), lambda i: b[CANARY_FLOATS - 1 - i] * 0.5, name="c")
    function = te.create_prim_func([a, c]).with_attr("global_symbol", "main")
    schedule = Schedule(IRModule({"main": function}))
    for block in ("b", "c"):
        (loop,) = schedule.get_loops(schedule.get_sblock(block))
        outer, _ = schedule.split(loop, [cores, None])
        schedule.parallel(outer)
    text: str = save_json(schedule.mod)
    return text


def warm_up(setup: Any, cuda: Mapping[str, Any] | None, folder: Path) -> None:
    """Compiles a small kernel for the target's CPU side."""
    import tvm
    from tvm import te

    if cuda:
        from tvmkd.runtime import nvrtc

        nvrtc.install(cuda)
    a = te.placeholder((64,), name="a")
    warm = te.create_prim_func([a, te.compute((64,), lambda i: te.exp(a[i]), name="b")])
    mod = tvm.IRModule({"main": warm.with_attr("global_symbol", "main")})
    warmed = folder / "warm.o"
    # The host's side of a GPU target: without threads there is nothing to compile for a GPU.
    target = tvm.ir.load_json(setup)
    compile_object(tvm.ir.save_json(mod), tvm.ir.save_json(target.host or target), warmed)
    warmed.unlink()


def compile_object(source: str, setup: Any, path: Path) -> Arguments:
    """Compiles a scheduled module (TVM's JSON) for a target (JSON) into an object file."""
    import tvm
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    from tvmkd.stacks.relax import lookup, tensor_cores, vector_math
    from tvmkd.stacks.relax.stack_arrays import on_stack

    vector_math.install()
    lookup.install()
    target, mod = tvm.ir.load_json(setup), tvm.ir.load_json(source)
    taken = ArgInfo.from_entry_func(mod, remove_preproc=True)
    arguments = [plain(info.as_json()) for info in taken]
    mod = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(mod)
    if target.kind.name == "llvm":
        mod = on_stack(mod)
    on_gpu = target.kind.name == "cuda"
    with tensor_cores.compiling(mod) if on_gpu else contextlib.nullcontext():
        library = tvm.tirx.build(mod, target=target)
    library.write_to_file(os.fspath(path))
    if library.imports:
        host = library.get_function("_get_target_string")()
        packed = tvm.runtime._ffi_api.ModulePackImportsToLLVM(library, False, host, "")
        packed.write_to_file(os.fspath(path.with_suffix(".dev.o")))
    return [(str(dtype), [int(size) for size in shape]) for _, dtype, shape in arguments]
