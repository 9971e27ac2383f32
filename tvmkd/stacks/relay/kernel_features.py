"""Numbers that describe a kernel before it has a schedule: see
:mod:`tvmkd.stacks.relax.kernel_features`, which explains the names.

AutoScheduler's tasks have shapes and axes only: there is no window, and no expectation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tvm import arith, te, tir

from tvmkd.tuning.space import Task


def features(task: Task) -> dict[str, float]:
    """The features of a kernel; its ``mod`` is the ``auto_scheduler.SearchTask``."""
    computed = [op for op in task.mod.compute_dag.ops if isinstance(op, te.ComputeOp)]
    main = max(computed, key=lambda op: (len(op.reduce_axis) > 0, _work(op)))
    rest = [op for op in computed if not op.same_as(main)]
    extents = _extents(main, main.axis) or [1]
    *images, rows, columns, channels = [1] * max(0, 3 - len(extents)) + extents
    sums = math.prod(_extents(main, main.reduce_axis))
    folded = sum(len(op.reduce_axis) > 0 for op in rest)
    found = {
        "flop": task.flop,
        "work": _work(main),
        "sums": sums,
        "images": math.prod(images),
        "rows": rows,
        "columns": columns,
        "channels": channels,
        **_arguments(computed, main),
        "elementwise": len(rest) - folded,
        "reductions": folded,
        "other_work": sum(_work(op) for op in rest),
    }
    return {name: float(value) for name, value in found.items()}


def _work(op: Any) -> int:
    return math.prod(_extents(op, [*op.axis, *op.reduce_axis]))


def _extents(op: Any, axes: Any) -> list[int]:
    """The extents of axes; of the windows of adaptive pooling, which differ, that of the first."""
    first = {axis.var: tir.const(0, axis.var.dtype) for axis in op.axis}
    found = []
    for axis in axes:
        extent = axis.dom.extent
        if not isinstance(extent, tir.IntImm):
            extent = arith.Analyzer().simplify(tir.stmt_functor.substitute(extent, first))
        found.append(int(extent))
    return found


def _arguments(computed: list[Any], main: Any) -> dict[str, float]:
    """The bytes of the arguments by their role."""
    read = {_identity(tensor): tensor for op in computed for tensor in op.input_tensors}
    factors = [_origins(tensor) for tensor in main.input_tensors]
    sizes = dict.fromkeys(("input_bytes", "weight_bytes", "extra_bytes", "output_bytes"), 0)
    for identity, tensor in read.items():
        if isinstance(tensor.op, te.PlaceholderOp):
            role = "extra_bytes"
            if identity in factors[0]:
                role = "input_bytes"
            elif main.reduce_axis and identity in factors[-1]:
                role = "weight_bytes"
            sizes[role] += _bytes(tensor)
    for op in computed:
        if _identity(op.output(0)) not in read:
            sizes["output_bytes"] += _bytes(op.output(0))
    return {**sizes, "element": np.dtype(main.output(0).dtype).itemsize}


def _identity(tensor: Any) -> tuple[int, int]:
    """What tells tensors apart: TVM refuses to compare those without axes."""
    return tensor.op.handle.value, tensor.value_index


def _origins(tensor: Any) -> set[tuple[int, int]]:
    """The arguments that a tensor is computed from."""
    if isinstance(tensor.op, te.PlaceholderOp):
        return {_identity(tensor)}
    return set().union(*(_origins(each) for each in tensor.op.input_tensors))


def _bytes(tensor: Any) -> int:
    return math.prod(map(int, tensor.shape)) * int(np.dtype(tensor.dtype).itemsize)
