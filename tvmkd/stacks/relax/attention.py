"""Finds attention in what ONNX files spell out, and computes it by one kernel where that wins.

Two matrix products with a softmax between them: the scores may be scaled and masked, heads may be
split and joined by any reshapes, slices and transpositions, which the kernel reads through.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tvm
from tvm import relax, te

from tvmkd.stacks.relax import attention_kernel
from tvmkd.stacks.relax.attention_blocks import block_for
from tvmkd.stacks.relax.attention_kernel import OPAQUE, Attention, Operand, Step
from tvmkd.stacks.relax.expressions import constant, dataflow, number, operator, sizes, variables
from tvmkd.stacks.relax.kernels import LANES
from tvmkd.stacks.relax.replaced import replaced
from tvmkd.stacks.relax.strided import Strided
from tvmkd.stacks.relax.templates.cpu import Cpu
from tvmkd.stacks.relax.views import Origin, Values, origin

DEPTH = 8
"""Operators between the scores and the softmax at most."""

Users = dict[Any, list[tuple[Any, Any]]]
"""Who reads each variable: other variables, and their values."""


def attention(mod: tvm.IRModule, cpu: Cpu) -> tvm.IRModule:
    """Rewrites ``main`` with kernels for attention; a module without stays as it is.

    Args:
        cpu: of the target. On cores with narrow registers nothing is changed: not measured there.
    """
    bindings = dataflow(mod)
    if bindings is None or cpu.lanes < LANES:
        return mod
    values = {binding.var: binding.value for binding in bindings}
    users: Users = defaultdict(list)
    for var, value in values.items():
        for read in variables(value):
            users[read].append((var, value))
    for read in variables(mod["main"].body.body):
        users[read].append((None, None))
    builder, changed = relax.BlockBuilder(mod), {}
    finder = _Finder(values, users, builder, cpu)
    for var, value in values.items():
        if operator(value) == "relax.nn.softmax":
            found = finder.at(var, value)
            if found is not None:
                changed[found.target] = _call(builder, found)
    return replaced(builder.get(), changed) if changed else mod


@dataclass(frozen=True)
class _Found:
    """An attention: what is computed, of which tensors, and the variable that it is.

    A tensor comes with whether it is read with channels last.
    """

    target: Any
    what: Attention
    sources: list[tuple[Any, bool]]


def _call(builder: relax.BlockBuilder, found: _Found) -> relax.Expr:
    flat = [math.prod(sizes(source) or []) for source, _ in found.sources]
    kinds = [str(source.ty.dtype).removeprefix("T.") for source, _ in found.sources]
    arguments = [
        te.placeholder((size,), kind, name=f"x{number}")
        for number, (size, kind) in enumerate(zip(flat, kinds, strict=True))
    ]
    made = te.create_prim_func([*arguments, attention_kernel.kernel(found.what, arguments)])
    made = made.without_attr("global_symbol").with_attr("op_pattern", OPAQUE)
    name = builder.add_func(made, "attention")
    order = found.what.order
    shape = [(*found.what.batch, *_rows_and_size(found.what))[axis] for axis in order]
    given = [
        relax.op.reshape(relax.op.permute_dims(each, [0, 2, 3, 1]) if last else each, [size])
        for (each, last), size in zip(found.sources, flat, strict=True)
    ]
    result = relax.call_tir(name, given, relax.TensorType(shape, "float32"))
    return relax.op.reshape(result, sizes(found.target))


def _rows_and_size(what: Attention) -> tuple[int, int]:
    return what.queries.view.shape[-2], what.values.view.shape[-1]


class _Given:
    """The arguments of a kernel: each tensor once."""

    def __init__(self) -> None:
        self.sources: list[tuple[Any, bool]] = []

    def operand(self, found: Origin, filled: bool = False) -> Operand:
        for place, (source, last) in enumerate(self.sources):
            if source.same_as(found.source) and last == found.last:
                return Operand(place, found.view, filled)
        self.sources.append((found.source, found.last))
        return Operand(len(self.sources) - 1, found.view, filled)


class _Finder:
    """Looks for the attention round a softmax."""

    def __init__(self, values: Values, users: Users, builder: relax.BlockBuilder, cpu: Cpu) -> None:
        self._values, self._users, self._builder, self._cpu = values, users, builder, cpu
        self._turned: list[tuple[Any, int, relax.Expr]] = []

    def at(self, var: Any, value: Any) -> _Found | None:
        shape = sizes(value)
        if shape is None or len(shape) < 2 or not _is_float(value):
            return None
        if int(value.attrs.axis) % len(shape) != len(shape) - 1:
            return None
        before, behind = self._before(value.args[0], DEPTH), self._behind(var)
        if before is None or behind is None:
            return None
        scores, steps = before
        result, product, weighted, swapped = behind
        if any(len(sizes(each) or []) < 2 for each in (*scores.args, weighted)):
            return None
        tensors = [scores, *(step.call for step in steps), value, product]
        batch = _batch([sizes(each) or [] for each in tensors])
        if batch is None:
            return None
        rows, columns = shape[-2:]
        front, out = (sizes(scores) or [])[:-2], (sizes(product) or [])[:-2]
        inner = (sizes(scores.args[0]) or [0])[-1]
        size = (sizes(product) or [0, 0])[-2 if swapped else -1]
        gathered = sum(_gathered(step, rows) for step in steps)
        block = block_for(rows, columns, inner, size, self._cpu, gathered)
        if block is None:
            return None
        queries = self._origin(scores.args[0], False, (*front, rows, inner), batch)
        keys = self._origin(scores.args[1], True, (*front, columns, inner), batch)
        vectors = self._origin(weighted, swapped, (*out, columns, size), batch, last=True)
        if queries is None or keys is None or vectors is None:
            return None
        given, made = _Given(), list[Step]()
        for raw in steps:
            step = self._step(raw, batch, given, block)
            if step is None:
                return None
            made.append(step)
        target, order = self._target(result, batch, rows, size, swapped)
        what = Attention(
            queries=given.operand(queries),
            keys=given.operand(keys),
            values=given.operand(vectors),
            scale=queries.factor * keys.factor,
            steps=tuple(made),
            order=order,
            block=block,
        )
        return _Found(target, what, given.sources)

    # From the softmax back to the scores, and on to the values.

    def _before(self, expr: Any, depth: int) -> tuple[Any, list[_Raw]] | None:
        """The product that makes the scores, and what becomes of them."""
        value: Any = self._values.get(expr) if isinstance(expr, relax.Var) else None
        shape = sizes(value) if value is not None else None
        if shape is None or len(self._users[expr]) != 1 or not depth or not _is_float(value):
            return None
        name = operator(value)
        if name == "relax.matmul":
            return value, []
        if name == "relax.reshape":
            inner = sizes(value.args[0])
            if inner is None or len(shape) < 2 or inner[-2:] != shape[-2:]:
                return None
            return self._before(value.args[0], depth - 1)
        for tensor, kind, other, instead in _sides(value):
            if sizes(tensor) == shape:
                found = self._before(tensor, depth - 1)
                if found is not None:
                    return found[0], [*found[1], _Raw(value, kind, other, instead)]
        return None

    def _behind(self, var: Any) -> tuple[Any, Any, Any, bool] | None:
        """The product with the values: its variable, it, the values, and whether these are left of
        the transposed weights.
        """
        swapped = False
        while len(self._users[var]) == 1:
            ((out, value),) = self._users[var]
            name, shape = operator(value), sizes(var) or []
            if name == "relax.matmul" and sizes(value) and len(shape) > 1:
                if value.args[1 if swapped else 0].same_as(var):
                    return out, value, value.args[0 if swapped else 1], swapped
                return None
            if name == "relax.reshape" and (sizes(value) or [])[-2:] == shape[-2:]:
                var = out
            elif name == "relax.permute_dims" and _swaps(value, len(shape)):
                var, swapped = out, not swapped
            else:
                return None
        return None

    # The kernel's arguments and its result.

    def _origin(
        self, expr: Any, swapped: bool, shape: Sequence[int], batch: Sequence[int],
        last: bool = False,
    ) -> Origin | None:  # fmt: skip
        """An operand as a view ``[*batch, rows, size]`` of the tensor that it comes from.

        Args:
            swapped: whether its last two axes are the other way round.
            shape: ``[*front, rows, size]`` to which it is broadcast.
            last: whether the last axis has to be one of neighbours.
        """
        if sizes(expr) is None or not _is_float(expr):
            return None

        def viewed(view: Strided) -> Strided | None:
            view = view.swapped() if swapped else view
            return view.broadcast(shape).reshaped([*batch, *shape[-2:]])

        def usable(view: Strided) -> bool:
            made = viewed(view)
            return made is not None and (not last or made.strides[-1] == 1)

        found = origin(expr, self._values, usable, scaled=not last)
        if found is None and last and swapped:
            # Transposed by a kernel of its own.
            rank = len(sizes(expr) or [])
            turned = relax.op.permute_dims(expr, [*range(rank - 2), rank - 1, rank - 2])
            expr, swapped = self._builder.normalize(turned), not swapped
            found = origin(expr, self._values, usable)
        made = None if found is None else viewed(found.view)
        return None if found is None or made is None else replace(found, view=made)

    def _step(self, raw: _Raw, batch: Sequence[int], given: _Given, block: int) -> Step | None:
        single = number(raw.other)
        if single is not None and raw.kind in ("add", "subtract", "multiply", "divide"):
            return Step(raw.kind, single)
        shape = sizes(raw.call)
        if shape is None or sizes(raw.other) is None:
            return None
        if raw.kind not in ("keep", "drop") and not _is_float(raw.other):
            return None
        wanted = [*batch, *shape[-2:]]
        array = constant(raw.other)
        if array is not None and array.ndim > 1:
            turned = self._swapped(raw.other, array, block)
            view = Strided.whole(turned.value.shape).swapped().cut(-2, 0, array.shape[-2])
            made = view.broadcast(shape).reshaped(wanted)
            if made is None:
                return None
            return Step(raw.kind, given.operand(Origin(turned, made), filled=True), raw.instead)

        def viewed(view: Strided) -> Strided | None:
            return view.broadcast(shape).reshaped(wanted)

        found = origin(raw.other, self._values, lambda view: viewed(view) is not None)
        seen = None if found is None else viewed(found.view)
        if found is None or seen is None:
            return None
        return Step(raw.kind, given.operand(replace(found, view=seen)), raw.instead)

    def _swapped(self, original: Any, array: np.ndarray, block: int) -> relax.Expr:
        """A constant with its last two axes swapped, with zeros up to whole blocks of queries: what
        changes the scores of queries that lie side by side then does so, too. Of a constant that
        many layers read there is one.
        """
        for known, made_for, turned in self._turned:
            if known.same_as(original) and made_for == block:
                return turned
        rows = array.shape[-2]
        more = -rows % block if rows > 1 else 0
        padded = np.pad(array, [(0, 0)] * (array.ndim - 2) + [(0, more), (0, 0)])
        turned = relax.const(np.ascontiguousarray(padded.swapaxes(-1, -2)))
        self._turned.append((original, block, turned))
        return turned

    def _target(
        self, var: Any, batch: Sequence[int], rows: int, size: int, swapped: bool
    ) -> tuple[Any, tuple[int, ...]]:
        """The variable behind the transpositions that the kernel does, and its axes' order."""
        extents, count = [*batch, rows, size], len(batch)
        axes = [axis for axis in range(count) if extents[axis] > 1]
        axes += [count + 1, count] if swapped else [count, count + 1]
        found = var, axes
        while len(self._users[var]) == 1:
            ((out, value),) = self._users[var]
            name, now = operator(value), sizes(var) or []
            groups = _grouped(axes, extents, now) if name in _MOVES else None
            if groups is None:
                break
            if name == "relax.permute_dims":
                order = value.attrs.axes
                order = [*range(len(now))][::-1] if order is None else [int(a) for a in order]
                axes = [axis for place in order for axis in groups[place]]
                found = out, axes
            var = out
        target, axes = found
        ones = [axis for axis in range(count) if extents[axis] == 1]
        return target, tuple(ones + axes)


_MOVES = ("relax.permute_dims", "relax.reshape", "relax.squeeze", "relax.expand_dims")


@dataclass(frozen=True)
class _Raw:
    """A step on the scores as the graph has it: see `Step`."""

    call: Any
    kind: str
    other: Any
    instead: float = 0.0


def _gathered(step: _Raw, rows: int) -> bool:
    """Whether a step reads a computed tensor that has other values for each query."""
    shape = sizes(step.other) or []
    return constant(step.other) is None and len(shape) > 1 and shape[-2] == rows


def _is_float(expr: Any) -> bool:
    return str(expr.ty.dtype).removeprefix("T.") == "float32"


def _sides(value: Any) -> list[tuple[Any, str, Any, float]]:
    """What a step may change: the scores, the kind, the other operand, and what else is there."""
    name = operator(value).removeprefix("relax.")
    if name in ("add", "multiply"):
        one, other = value.args
        return [(one, name, other, 0.0), (other, name, one, 0.0)]
    if name in ("subtract", "divide"):
        return [(value.args[0], name, value.args[1], 0.0)]
    if name == "where":
        condition, one, other = value.args
        first, second = number(one), number(other)
        kept = [] if second is None else [(one, "keep", condition, second)]
        return kept + ([] if first is None else [(other, "drop", condition, first)])
    return []


def _swaps(call: Any, rank: int) -> bool:
    """Whether a transposition swaps the last two axes and no others."""
    axes = call.attrs.axes
    axes = [*range(rank)][::-1] if axes is None else [int(axis) % rank for axis in axes]
    return axes == [*range(rank - 2), rank - 1, rank - 2]


def _batch(shapes: Sequence[Sequence[int]]) -> tuple[int, ...] | None:
    """The axes in front of the last two, as finely divided as any of the shapes has them."""
    fronts = [tuple(size for size in shape[:-2] if size > 1) for shape in shapes]
    if len({math.prod(front) for front in fronts}) != 1:
        return None
    return max(fronts, key=len) or (1,)


def _grouped(
    axes: Sequence[int], extents: Sequence[int], shape: Sequence[int]
) -> list[list[int]] | None:
    """Which of the axes each axis of a shape consists of; None: it cuts one."""
    left, found = list(axes), []
    for size in shape:
        group: list[int] = []
        while math.prod(extents[axis] for axis in group) < size and left:
            group.append(left.pop(0))
        if math.prod(extents[axis] for axis in group) != size:
            return None
        found.append(group)
    return None if left else found
