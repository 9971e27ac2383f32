"""Extracts a lowered module's kernels as tuning tasks, and applies schedules to the module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import tvm
from tvm import relax, s_tir
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.analysis import estimate_tir_flops
from tvm.s_tir.meta_schedule.arg_info import ArgInfo

from tvmkd.runtime.tvm_process import register_intrinsics
from tvmkd.stacks.relax import attention_kernel, dot_products, quantized_kernels, winograd
from tvmkd.stacks.relax import kernels as packed
from tvmkd.stacks.relax.templates import plain_space, template_for
from tvmkd.stacks.relax.templates.cpu import Cpu
from tvmkd.stacks.relax.templates.primitives import blocks, is_reduction
from tvmkd.tuning.records import StoredRecord, task_key
from tvmkd.tuning.space import Space, Task


def kernels(mod: tvm.IRModule) -> Iterator[tuple[tvm.ir.GlobalVar, tvm.IRModule, str]]:
    """Every kernel as ``(its name, a module with it as main, its task key)``."""
    for name, func in mod.functions.items():
        if isinstance(func, tvm.tirx.PrimFunc):
            alone = _alone(func)
            yield name, alone, task_key(alone)


def _alone(func: tvm.tirx.PrimFunc) -> tvm.IRModule:
    # FuseOps alone reads the fusion pattern: kernels that differ only in it are the same task.
    if func.attrs and "op_pattern" in func.attrs:
        func = func.without_attr("op_pattern")
    return tvm.IRModule({"main": func.with_attr("global_symbol", "main")})


def calls(mod: tvm.IRModule) -> Counter[str]:
    """The number of calls of each kernel in ``main``, by the kernel's name."""
    found: Counter[str] = Counter()

    def visit(node: Any) -> None:
        name = getattr(node.op, "name", "") if isinstance(node, tvm.ir.Call) else ""
        if name in ("relax.call_tir", "relax.call_tir_inplace"):
            found[node.args[0].name_hint] += 1

    relax.analysis.post_order_visit(mod["main"], visit)
    return found


def kind_of(mod: tvm.IRModule) -> str:
    """The kind of a kernel, recognised by its block names."""
    schedule = s_tir.Schedule(mod)
    found = blocks(schedule)
    names = {schedule.get(block).name_hint for block in found}
    if attention_kernel.SCORES in names:
        return "attention"
    if names & {packed.DEPTHWISE, quantized_kernels.DEPTHWISE_DOT}:
        return "depthwise"
    if mod["main"].params and names & {winograd.ROWS_IN, winograd.ROWS_OUT}:
        return "winograd"
    if names & {packed.PACKED, dot_products.SUM}:
        rank = len(ArgInfo.from_prim_func(mod["main"])[0].shape)
        return "conv2d" if rank == 4 else "dense"
    for kind, parts in {"conv2d": ("conv2d",), "dense": ("matmul", "dense")}.items():
        if any(part in name for name in names for part in parts):
            depthwise = kind == "conv2d" and any("depthwise" in name for name in names)
            return "depthwise" if depthwise else kind
    return "reduction" if any(is_reduction(schedule, b) for b in found) else "elementwise"


def _has_schedule(alone: tvm.IRModule) -> bool:
    """False for a kernel whose loops TVM wrote by hand (ScatterElements, sorting): no schedule
    applies to it, and it is compiled as it is.
    """
    body = alone["main"].body
    return isinstance(body, s_tir.SBlockRealize) and body.block.name_hint == "root"


def tasks_of(mod: tvm.IRModule, target: tvm.target.Target, cpu: Cpu | None) -> list[Task]:
    """The distinct kernels that ``main`` runs, sorted by operations, most first.

    Args:
        mod: the lowered module.
        target: the target to tune for.
        cpu: the target's; None on a GPU, for which there are no templates.
    """
    counts = calls(mod)
    found: dict[str, Task] = {}
    for name, alone, key in kernels(mod):
        weight = counts[name.name_hint]
        if not weight or not _has_schedule(alone):
            continue
        if key in found:
            found[key].weight += weight
            continue
        task = Task(
            name=name.name_hint,
            key=key,
            mod=alone,
            target=target,
            weight=weight,
            flop=float(estimate_tir_flops(alone)),
            kind=kind_of(alone),
        )
        if cpu is not None:
            task.template = _template(task, cpu)
        found[key] = task
    return sorted(found.values(), key=lambda task: -task.flop * task.weight)


SEARCHED = ("conv2d", "dense", "depthwise")
"""Kinds of kernels whose simple schedules are far from their best: without a template of their own
they are searched by evolution.
"""


def _template(task: Task, cpu: Cpu) -> Space | None:
    found = template_for(task.mod, cpu)
    if found is None and task.kind not in SEARCHED:
        return plain_space(task.mod, cpu)
    return found


def scheduled(task: Task, record: StoredRecord) -> tvm.IRModule:
    """Applies the schedule of a record to a task's module.

    Raises:
        tvm.s_tir.ScheduleError: the record's trace does not fit the task.
    """
    if "Tensorize" in str(record.record):
        register_intrinsics(gpu=task.target.kind.name == "cuda")
        dot_products.register_all()
    workload = ms.database.Workload(task.mod)
    trace = ms.database.TuningRecord.from_json(record.record, workload).trace
    schedule = s_tir.Schedule(task.mod, debug_mask="none")
    trace.apply_to_schedule(schedule, remove_postproc=False)
    return schedule.mod


def put_back(mod: tvm.IRModule, chosen: Mapping[str, tvm.IRModule]) -> tvm.IRModule:
    """Replaces each kernel of ``mod`` that is in ``chosen`` (by task key) by its scheduled form."""
    replaced = tvm.IRModule(dict(mod.functions.items()), attrs=mod.attrs)
    for name, _, key in kernels(mod):
        if key in chosen:
            original, func = mod[name], chosen[key]["main"]
            symbol = original.attrs.get("global_symbol") if original.attrs else None
            func = (
                func.with_attr("global_symbol", symbol)
                if symbol
                else func.without_attr("global_symbol")
            )
            replaced.update_func(name, func.with_attr("tirx.is_scheduled", True))
    return replaced
