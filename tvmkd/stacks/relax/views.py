"""Follows a tensor back through what moves no data: heads that were split, sliced, transposed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tvm import relax

from tvmkd.stacks.relax.expressions import constant, number, operator, sizes
from tvmkd.stacks.relax.strided import Strided

Values = Mapping[Any, Any]
"""The value of each variable."""


@dataclass(frozen=True)
class Origin:
    """A tensor as a view of another one, times a number.

    Attributes:
        source: the other one.
        view: of the flat array that it is.
        factor: the number.
        last: the array is an image ``[N, C, H, W]`` with channels last.
    """

    source: Any
    view: Strided
    factor: float = 1.0
    last: bool = False


def origin(
    expr: Any,
    values: Values,
    usable: Callable[[Strided], bool],
    *,
    image: Callable[[Any], bool] | None = None,
    scaled: bool = False,
) -> Origin | None:
    """The tensor farthest back of which ``expr`` is a usable view.

    Args:
        expr: a tensor.
        values: of the graph's variables.
        usable: whether a kernel can read a view of the shape of ``expr``.
        image: whether a tensor has its channels last; None: as far as the graph shows.
        scaled: whether ``expr`` may be the view times a number.

    Returns:
        None: there is none, not even ``expr`` as a view of itself.
    """
    steps: list[tuple[Any, Any]] = []  # from expr backwards: a call, and the value it is part of
    found, factor, now = None, 1.0, expr
    while True:
        shape = sizes(now)
        if shape is None:
            return found
        found_image = _is_image(now, values) if image is None else image(now)
        for last in (True, False) if found_image else (False,):
            view: Strided | None = Strided.whole(shape)
            if last:
                n, c, h, w = shape
                view = Strided.whole((n, h, w, c)).transposed([0, 3, 1, 2])
            for call, taken in reversed(steps):
                view = None if view is None else _applied(view, call, taken)
            if view is not None and usable(view):
                found = Origin(now, view, factor, last)
                break
        value = values.get(now) if isinstance(now, relax.Var) else None
        back = _source(value, values)
        if back is None or (back[1] != 1.0 and not scaled):
            return found
        now, single, call = back
        factor *= single
        steps.append((call, value))


def _is_image(expr: Any, values: Values) -> bool:
    """Whether an image comes from a convolution, behind which channels are last."""
    for _ in range(4):
        value: Any = values.get(expr) if isinstance(expr, relax.Var) else None
        if operator(value) == "relax.nn.conv2d":
            return True
        if operator(value) not in _BEHIND or len(sizes(value) or []) != 4:
            return False
        expr = value.args[0]
    return False


_BEHIND = {f"relax.{name}" for name in ("add", "multiply", "subtract", "divide", "clip", "nn.relu")}


def _source(value: Any, values: Values) -> tuple[Any, float, Any] | None:
    """What a value is a view of, by what it is multiplied, and the call that views it."""
    if isinstance(value, relax.TupleGetItem):
        split: Any = values.get(value.tuple_value)
        return (split.args[0], 1.0, split) if operator(split) == "relax.split" else None
    name = operator(value)
    if name in _VIEWS:
        return value.args[0], 1.0, value
    if name in ("relax.multiply", "relax.divide"):
        pairs = (value.args, value.args[::-1]) if name == "relax.multiply" else (value.args,)
        for tensor, other in pairs:
            single = number(other)
            if single and sizes(tensor) == sizes(value):
                return tensor, single if name == "relax.multiply" else 1 / single, value
    return None


def _applied(view: Strided, call: Any, taken: Any) -> Strided | None:
    """The view behind one operator; None: it moves data."""
    name = operator(call)
    if name == "relax.split":
        return _part(view, call, int(taken.index))
    return _VIEWS[name](view, call) if name in _VIEWS else view


def _part(view: Strided, call: Any, index: int) -> Strided:
    sections, axis = call.attrs.indices_or_sections, int(call.attrs.axis)
    size = view.shape[axis]
    if hasattr(sections, "__len__"):
        bounds = [0, *(int(place) for place in sections), size]
    else:
        step = -(-size // int(sections))
        bounds = [*range(0, size, step), size]
    return view.cut(axis, bounds[index], bounds[index + 1])


def _reshaped(view: Strided, call: Any) -> Strided | None:
    shape = sizes(call)
    return None if shape is None else view.reshaped(shape)


def _transposed(view: Strided, call: Any) -> Strided:
    axes = call.attrs.axes
    rank = len(view.shape)
    return view.transposed([*range(rank)][::-1] if axes is None else [int(a) % rank for a in axes])


def _sliced(view: Strided, call: Any) -> Strided | None:
    fields = [[number(each) for each in arg.fields] for arg in call.args[1:] if _is_tuple(arg)]
    if len(fields) != len(call.args) - 1 or any(None in each for each in fields):
        return None
    axes, begins, ends, *steps = ([int(each or 0) for each in field] for field in fields)
    shape = sizes(call)
    for place, axis in enumerate(axes):
        step = steps[0][place] if steps else 1
        if step < 1:
            return None
        view = view.cut(axis, begins[place], ends[place], step)
    return view if shape is not None and list(view.shape) == shape else None


def _is_tuple(expr: Any) -> bool:
    return isinstance(expr, relax.Tuple)


def _taken(view: Strided, call: Any) -> Strided | None:
    index = constant(call.args[1])
    if index is None or index.ndim or call.attrs.axis is None:
        return None
    return view.picked(int(call.attrs.axis), int(index))


def _broadcast(view: Strided, call: Any) -> Strided | None:
    shape = sizes(call)
    return None if shape is None else view.broadcast(shape)


_VIEWS: dict[str, Callable[[Strided, Any], Strided | None]] = {
    "relax.reshape": _reshaped,
    "relax.squeeze": _reshaped,
    "relax.expand_dims": _reshaped,
    "relax.permute_dims": _transposed,
    "relax.strided_slice": _sliced,
    "relax.take": _taken,
    "relax.broadcast_to": _broadcast,
}
