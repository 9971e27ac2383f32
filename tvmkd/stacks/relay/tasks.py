"""The kernels of a Relay module as tuning tasks."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import auto_scheduler

from tvmkd.base.errors import MissingError
from tvmkd.tuning.autoscheduler_log import task_key
from tvmkd.tuning.space import Task

CACHE_LINE = 64  # bytes, of every CPU that there is a target for
VECTOR_BYTES = {"x86-64-v4": 64, "x86-64-v3": 32}
NEON_BYTES = 16
KINDS = (  # a part of the text of a task's computation, and the kind it stands for
    ("DepthwiseConv2d", "depthwise"),
    ("conv2d_transpose", "conv2d_transpose"),
    ("conv2d", "conv2d"),
    ("T_matmul", "dense"),
    ("batch_matmul", "batch_matmul"),
    ("pool", "pooling"),
)


def tvm_target(target: dict[str, Any]) -> tvm.target.Target:
    """The TVM target of a tvmkd target (``Target.to_dict()``).

    Raises:
        MissingError: this TVM does not generate code for it.
    """
    spec = dict(target["tvm"])
    if spec["kind"] not in ("llvm", "c"):
        raise MissingError(
            f"target {target.get('name')}: this TVM {tvm.__version__} is built without "
            f"{spec['kind']}; the relay stack needs one built with it (TVMKD_RELAY_PYTHON)"
        )
    if str(spec.get("mtriple", "")).startswith(("aarch64", "arm")):
        spec.setdefault("device", "arm_cpu")
    return tvm.target.Target(spec)


def hardware(target: dict[str, Any]) -> auto_scheduler.HardwareParams:
    """The parameters of the target's CPU that AutoScheduler needs."""
    spec = target["tvm"]
    return auto_scheduler.HardwareParams(
        num_cores=int(spec.get("num-cores") or 1),
        vector_unit_bytes=VECTOR_BYTES.get(str(spec.get("mcpu")), NEON_BYTES),
        cache_line_bytes=CACHE_LINE,
        target=tvm_target(target),
    )


def kind_of(task: auto_scheduler.SearchTask) -> str:
    """The kind of a kernel, recognised by the names in its computation."""
    text = str(task.compute_dag)
    return next((kind for part, kind in KINDS if part in text), "reduction")


def name_of(task: auto_scheduler.SearchTask) -> str:
    """The first of the names that Relay gives a kernel."""
    return str(task.desc).split(",")[0].removeprefix("vm_mod_")


def tasks_of(mod: tvm.IRModule, target: dict[str, Any]) -> list[Task]:
    """The distinct kernels of ``main`` that contain a reduction, sorted by operations, most first.

    AutoScheduler tunes no others: elementwise kernels run TOPI's schedules.
    """
    goal = tvm_target(target)
    found, weights = auto_scheduler.extract_tasks(
        mod["main"], {}, goal, hardware_params=hardware(target)
    )
    tasks = [
        Task(
            name=name_of(task),
            key=task_key(task.workload_key),
            mod=task,
            target=goal,
            weight=int(weight),
            flop=max(0.0, float(task.compute_dag.flop_ct)),
            kind=kind_of(task),
        )
        for task, weight in zip(found, weights, strict=True)
    ]
    return sorted(tasks, key=lambda task: -task.flop * task.weight)
