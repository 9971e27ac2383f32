"""Numbers that describe a kernel before it has a schedule, for models of kernels' times.

They are read from the structure of the function (shapes of buffers, axes of blocks, indices), not
from names, and have the same meaning for kernels of every kind: what a kernel lacks is 0 or 1.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from tvm import s_tir, sym, tirx
from tvm_ffi import structural_walk

from tvmkd.stacks.relax.templates import primitives as p
from tvmkd.stacks.relax.templates.cpu import Cpu
from tvmkd.stacks.relax.templates.enumerated import EnumeratedSpace
from tvmkd.stacks.relax.templates.threads import EXPECTED
from tvmkd.tuning.space import Task

WARP = 32
"""Threads of a GPU that run together: channels are counted in these where there are no vectors."""


def features(task: Task, cpu: Cpu | None) -> dict[str, float]:
    """The features of a kernel.

    The main loop nest is the largest one with a sum; the largest of all where none has one.

    - ``work``: iterations of the main nest; ``sums``: those that add to one element; ``taps``: the
      places of its window, ``last_tap`` along the last axis; ``inner``: the channels that are
      summed; ``stride``; ``groups``.
    - ``images``, ``rows``, ``columns``, ``channels``: of what the main nest computes; ``ragged``:
      channels beyond whole vectors; ``filled``: the part of the vectors' lanes that is needed;
      ``vectors``: vectors of results, which threads can share.
    - ``along``: whether all nests read along memory, which a transposition does not.
    - ``input_bytes``, ``weight_bytes``: of the arguments that are the main nest's first and last
      factor; ``extra_bytes``: of the others that are read; ``output_bytes``; ``element``: bytes of
      one element of the first argument.
    - ``elementwise``, ``reductions``: other nests without and with a sum; ``other_work``: the
      iterations of them all; ``instructions``: roughly what they take; ``main_instructions``:
      what one iteration of the main nest takes.
    - ``template``: whether a template knows the kernel; ``threads``: whether its first guess uses
      threads, and ``turns`` of which loop these share, about; ``expected``: the cycles that it
      takes, for kernels whose schedules a cost model ranks.

    Each is a number of the kernel alone, the same in every network.

    Args:
        task: with the space of its template, if it has one.
        cpu: the target's; None on a GPU.
    """
    nests = _Nests(task)
    lanes = WARP if cpu is None else cpu.lanes
    channels = nests.space[-1]
    blocks = -(-channels // lanes)
    found = {
        "flop": task.flop,
        "work": nests.work(nests.main),
        **nests.window(),
        **nests.sizes(),
        "ragged": channels % lanes,
        "filled": channels / (blocks * lanes),
        "vectors": math.prod(nests.space[:-1]) * blocks,
        **nests.arguments(),
        **nests.others(),
        "template": task.template is not None,
        **_first_guess(task.template, math.prod(nests.space)),
    }
    return {name: float(value) for name, value in found.items()}


def _first_guess(template: Any, results: int) -> dict[str, float]:
    """What is known of the first configuration of a template; nothing without one.

    Args:
        results: elements that the main nest computes.
    """
    if not isinstance(template, EnumeratedSpace):
        return {}
    first = template.configs[0]
    each = first.get("width", 1) * first.get("columns", 1)
    turns = first.get("steps", -(-results // each))
    found = {"threads": first["parallel"] and turns > 1, "turns": turns}
    return found | ({"expected": first[EXPECTED]} if EXPECTED in first else {})


class _Nests:
    """The loop nests of a fused kernel."""

    def __init__(self, task: Task) -> None:
        self._schedule = sch = s_tir.Schedule(task.mod, debug_mask="none")
        self._parameters = list(task.mod["main"].params)
        self._all = p.blocks(sch)
        self.main = max(self._all, key=lambda nest: (p.is_reduction(sch, nest), self.work(nest)))
        self._node = sch.get(self.main)
        self._folds = [a for a in self._node.iter_vars if int(a.iter_type) != p.SPATIAL]
        self._places = [a.var for a in self._node.iter_vars if int(a.iter_type) == p.SPATIAL]

    @cached_property
    def space(self) -> list[int]:
        """The extents of what the main nest computes, at least one."""
        return p.space_extents(self._schedule, self.main) or [1]

    def work(self, nest: Any) -> int:
        """The iterations of a nest."""
        return math.prod(int(axis.dom.extent) for axis in self._schedule.get(nest).iter_vars)

    def sizes(self) -> dict[str, float]:
        """What the main nest computes, as images of rows and columns of channels."""
        *images, rows, columns, channels = [1] * max(0, 3 - len(self.space)) + self.space
        return {
            "images": math.prod(images),
            "rows": rows,
            "columns": columns,
            "channels": channels,
        }

    def window(self) -> dict[str, float]:
        """What the main nest sums, and how it reads it.

        An axis is one of a window if an index adds it to an axis of the result (times a stride).
        """
        reads = self._node.reads
        indices = [each.min for each in reads[0].region] if reads else []
        taps: dict[int, int] = {}
        stride = 1
        for index in indices:
            moved = [number for number, a in enumerate(self._folds) if _holds(index, [a.var])]
            by = _stride(index, self._places)
            if moved and by:
                taps |= {number: int(self._folds[number].dom.extent) for number in moved}
                stride = max(stride, by)
        sums = math.prod(int(axis.dom.extent) for axis in self._folds)
        inner = sums // math.prod(taps.values())
        product = len(reads) > 1 and bool(self._folds)
        return {
            "sums": sums,
            "taps": math.prod(taps.values()),
            "last_tap": taps[max(taps)] if taps else 1,
            "inner": inner,
            "stride": stride,
            "groups": max(1.0, int(reads[0].source.shape[-1]) / inner) if product else 1,
            "along": all(self._along(nest) for nest in self._all),
        }

    def _along(self, nest: Any) -> bool:
        node = self._schedule.get(nest)
        places = [axis.var for axis in node.iter_vars if int(axis.iter_type) == p.SPATIAL]
        innermost = [*places[-1:], *(axis.var for axis in node.iter_vars[-1:])]
        last = [region.region[-1].min for region in node.reads if region.region]
        return all(_holds(each, innermost) or not _holds(each, places) for each in last)

    def arguments(self) -> dict[str, float]:
        """The bytes of the arguments by their role."""
        nodes = [self._schedule.get(nest) for nest in self._all]
        written = {region.source for node in nodes for region in node.writes}
        factors = self._factors()
        sizes = dict.fromkeys(("input_bytes", "weight_bytes", "extra_bytes", "output_bytes"), 0)
        for buffer in self._parameters:
            role = "extra_bytes"
            if buffer in written:
                role = "output_bytes"
            elif factors and buffer in factors[0]:
                role = "input_bytes"
            elif self._folds and len(factors) > 1 and buffer in factors[-1]:
                role = "weight_bytes"
            sizes[role] += _bytes(buffer)
        return {**sizes, "element": _item(self._parameters[0]) if self._parameters else 0}

    def _factors(self) -> list[set[Any]]:
        """For each buffer that the main nest reads, the buffers that it is computed from."""
        origins: dict[Any, set[Any]] = {}
        for nest in self._all:
            node = self._schedule.get(nest)
            read = [region.source for region in node.reads]
            found = [origins.get(each, {each}) for each in read]
            if nest.same_as(self.main):
                return found
            for region in node.writes:
                origins[region.source] = set().union(*found)
        return []

    def others(self) -> dict[str, float]:
        """The nests beside the main one: what is computed before and after it."""
        rest = [nest for nest in self._all if not nest.same_as(self.main)]
        sums = sum(p.is_reduction(self._schedule, nest) for nest in rest)
        work = [self.work(nest) for nest in rest]
        each = [p.operations(self._schedule, nest) for nest in rest]
        return {
            "elementwise": len(rest) - sums,
            "reductions": sums,
            "other_work": sum(work),
            "instructions": sum(a * b for a, b in zip(work, each, strict=True)),
            "main_instructions": p.operations(self._schedule, self.main),
        }


def _holds(index: Any, variables: list[Any]) -> bool:
    """Whether an index contains one of the variables."""
    found = False

    def look(node: Any) -> None:
        nonlocal found
        found = found or any(node.same_as(each) for each in variables)

    structural_walk(index, (tirx.Var, look))
    return found


def _stride(index: Any, variables: list[Any]) -> int:
    """The greatest factor of one of the variables in an index; 0 if there is none, as in the
    number of a group of channels.
    """
    while isinstance(index, tirx.Min):  # stays inside where more is computed than there is
        index = index.a
    *factors, _ = sym.detect_linear_equation(index, variables) or [0]
    return max((int(each) for each in factors if isinstance(each, tirx.IntImm)), default=0)


def _item(buffer: Any) -> int:
    return np.dtype(str(buffer.dtype)).itemsize


def _bytes(buffer: Any) -> int:
    return math.prod(int(size) for size in buffer.shape) * _item(buffer)
