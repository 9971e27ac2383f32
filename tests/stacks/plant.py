"""Writes records for a model without measuring: ``plant.py MODEL RECORDS TARGET_JSON MODE...``

``good`` gives every task its template's first schedule. ``wrong`` gives the first convolution a
schedule that keeps its sums in 8-bit integers, and says it is the fastest of all. ``misfit`` gives
it the schedule of another task.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tvmkd.runtime.tvm_process import import_compiler

import_compiler()

from tvm import s_tir  # noqa: E402

from tvmkd.stacks.relax import importer as relax_import  # noqa: E402
from tvmkd.stacks.relax.kernels import PACKED  # noqa: E402
from tvmkd.stacks.relax.stack import threads_of, tvm_target  # noqa: E402
from tvmkd.stacks.relax.tasks import tasks_of  # noqa: E402
from tvmkd.tuning.session import open_session  # noqa: E402
from tvmkd.tuning.space import candidate  # noqa: E402


def wrong(task):
    schedule = s_tir.Schedule(task.mod)
    block = schedule.get_sblock(PACKED)
    schedule.cache_write(block, 0, "local")
    schedule.unsafe_set_dtype(block, 0, "int8")
    return schedule


def main(model: str, folder: str, target_json: str, *modes: str) -> None:
    target = json.loads(target_json)
    device = tvm_target(target)
    read = relax_import.read(model)
    tasks = tasks_of(relax_import.fuse(read.mod, device), device, threads_of(target))
    first = next(task for task in tasks if task.kind == "conv2d")
    other = next(task for task in tasks if task.kind == "depthwise")
    with open_session(Path(folder), target, "relax") as session:

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
            add(first, wrong(first), 1e-9)
        if "misfit" in modes:
            line = candidate(other.template.default())
            session._recorder.add(first, line, 1e-9)


main(*sys.argv[1:])
