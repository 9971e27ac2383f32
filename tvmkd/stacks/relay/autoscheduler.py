"""The tuner backend of the relay stack: AutoScheduler's states and its log."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.runtime.relay_process import import_compiler
from tvmkd.tuning import records
from tvmkd.tuning.autoscheduler_log import LOG
from tvmkd.tuning.space import Candidate, Space, Task

if TYPE_CHECKING:
    from tvmkd.tuning.tuner_backend import Arguments, Stored

__all__ = [
    "compile_object",
    "import_compiler",
    "plain_loops",
    "recorder",
    "setup",
    "source",
    "spaces",
    "warm_up",
]


PLAIN = "plain"  # in a source: compile the computation of the line without its schedule


class Recorder:
    """Appends to an AutoScheduler log."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG

    def add(self, task: Task, candidate: Candidate, figure: float) -> None:
        """Appends one line."""
        del task  # its workload key is in the line
        line = {**candidate.schedule, "r": [[figure], 0, figure, int(time.time())]}
        records.append_line(self._path, line)


def recorder(folder: Path) -> Recorder:
    """The writer of a folder's log."""
    return Recorder(folder)


def spaces(tasks: Sequence[Task], stored: Stored, seed: int) -> list[Space]:
    """A space of sketches for each task; they share a cost model."""
    from tvmkd.stacks.relay.sketch import SketchSpace, cost_model

    model = cost_model(seed)
    return [SketchSpace(task, stored(task.key), model) for task in tasks]


def setup(tasks: Sequence[Task]) -> Any:
    """The computations of the tasks; the log holds only their hashes."""
    from tvm.auto_scheduler.workload_registry import serialize_workload_registry_entry

    return [list(serialize_workload_registry_entry(task.mod.workload_key)) for task in tasks]


def source(candidate: Candidate) -> str:
    """The line of the log."""
    return json.dumps(candidate.schedule)


def plain_loops(task: Task, candidate: Candidate) -> str | None:
    """The candidate's line with the task's own computation in it, marked; none for a GPU."""
    if task.target.kind.name not in ("llvm", "c"):
        return None
    (_, *place), state = candidate.schedule["i"]
    return json.dumps(
        {**candidate.schedule, "i": [[task.mod.workload_key, *place], state], PLAIN: 1}
    )


def uses_threads(candidate: Candidate) -> bool:
    """True: the log does not say."""
    del candidate
    return True


def canary(target: Mapping[str, Any]) -> str | None:
    """None: a line of the log needs a registered computation."""
    del target
    return None


def warm_up(setup: Any, cuda: Mapping[str, Any] | None, folder: Path) -> None:
    """Registers the computations and compiles a small kernel."""
    import tvm
    from tvm import te
    from tvm.auto_scheduler.workload_registry import deserialize_workload_registry_entry

    del cuda
    for name, value in setup:
        deserialize_workload_registry_entry((name, value))
    a = te.placeholder((64,), name="a")
    b = te.compute((64,), lambda i: te.exp(a[i]), name="b")
    warmed = folder / "warm.o"
    target = tvm.target.Target(f"llvm -mtriple={os.uname().machine}-linux-gnu")
    tvm.build(te.create_schedule(b.op), [a, b], target, name="main").save(os.fspath(warmed))
    warmed.unlink()


def compile_object(source: str, setup: Any, path: Path) -> Arguments:
    """Compiles a line of the log into an object file."""
    import tvm
    from tvm.auto_scheduler.compute_dag import LayoutRewriteOption

    from tvmkd.stacks.relay.sketch import restore

    del setup
    line = json.loads(source)
    plain = line.pop(PLAIN, False)
    measured = restore(line)
    task = measured.task
    dag, state, rewrite = task.compute_dag, measured.state, task.layout_rewrite_option
    if plain:
        if rewrite == LayoutRewriteOption.REWRITE_FOR_PRE_TRANSFORMED:
            dag = dag.rewrite_layout_from_state(state)
        state, rewrite = dag.get_init_state(), LayoutRewriteOption.NO_REWRITE
    schedule, args = dag.apply_steps_from_state(state, layout_rewrite=rewrite)
    tvm.build(schedule, args, target=task.target, name="main").save(os.fspath(path))
    return [(str(arg.dtype), [int(size) for size in arg.shape]) for arg in args]
