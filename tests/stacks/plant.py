"""Writes records of the relax stack for a model without measuring anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from in_tvm import INSIDE, inside

if INSIDE:
    from tvm import s_tir

    from tvmkd.stacks.relax import importer as relax_import
    from tvmkd.stacks.relax.kernels import PACKED
    from tvmkd.stacks.relax.stack import tvm_target
    from tvmkd.stacks.relax.tasks import tasks_of
    from tvmkd.stacks.relax.templates.cpu import Cpu
    from tvmkd.tuning.session import open_session
    from tvmkd.tuning.space import candidate


def wrong(task):
    schedule = s_tir.Schedule(task.mod)
    block = schedule.get_sblock(PACKED)
    schedule.cache_write(block, 0, "local")
    schedule.unsafe_set_dtype(block, 0, "int8")
    return schedule


@inside("relax")
def plant(
    model: Path, folder: Path, target: dict[str, Any], modes: list[str], place: int = 0
) -> str:
    """Writes records of each mode; returns the name of the task that gets the odd one.

    ``good`` gives every task its template's first schedule. ``wrong`` gives one convolution a
    schedule that keeps its sums in 8-bit integers, and says it is the fastest of all. ``misfit``
    gives it the schedule of another task.

    Args:
        place: which of the tasks that are convolutions (not depthwise) gets the odd record.
    """
    device = tvm_target(target)
    read = relax_import.read(model)
    cpu = Cpu.of(target)
    tasks = tasks_of(relax_import.fuse(read.mod, device, cpu), device, cpu)
    convolutions = [task for task in tasks if task.kind == "conv2d"]
    chosen = convolutions[place % len(convolutions)]
    with open_session(folder, target, "relax") as session:

        def add(task, schedule, seconds):
            session.add(
                task,
                candidate(schedule),
                figure=seconds,
                seconds=[seconds],
                error_kind=None,
                error=None,
                board="planted",
                wall=0.0,
            )

        if "good" in modes:
            for task in tasks:
                add(task, task.template.default(), 1e-4)
        if "wrong" in modes:
            add(chosen, wrong(chosen), 1e-9)
        if "misfit" in modes:
            other = next(task for task in tasks if task.kind == "depthwise")
            line = candidate(other.template.default())
            session._recorder.add(chosen, line, 1e-9)

    name: str = chosen.name
    return name
