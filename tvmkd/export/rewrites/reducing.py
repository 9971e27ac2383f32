"""Reductions of types that TVM reduces in another type, and products along an axis."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from tvmkd.export.rewrites.integers import given
from tvmkd.export.rewrites.plain import cast, concat, constant_like, cut, reduce
from tvmkd.export.site import Refused, Site

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}


def _axes(site: Site) -> list[int]:
    rank = len(site.sizes())
    axes = site.axes()
    if axes is None:
        return [] if site.attribute("noop_with_empty_axes", 0) else list(range(rank))
    return axes


def mean(site: Site) -> None:
    """``ReduceMean`` of integers: a sum, divided and rounded to zero."""
    if site.elem_type() in _FLOATS:
        return
    axes, shape = _axes(site), site.sizes()
    if not axes:
        site.become("Identity", [given(site, 0)])
        return
    total = reduce(site, "Sum", given(site, 0), axes, bool(site.attribute("keepdims", 1)))
    count = constant_like(site, math.prod(shape[axis] for axis in axes), total)
    site.become("Div", [total, count])


def extreme(site: Site) -> None:
    """``ReduceMax`` and ``ReduceMin`` of bool, as bytes."""
    if site.elem_type() != TensorProto.BOOL:
        return
    axes = _axes(site)
    data = cast(site, given(site, 0), TensorProto.INT32)
    if axes:
        kind = site.node.op_type.removeprefix("Reduce")
        data = reduce(site, kind, data, axes, bool(site.attribute("keepdims", 1)))
    site.become("Cast", [data], to=TensorProto.BOOL)


def product_along(site: Site) -> None:
    """``CumProd``: each step multiplies by what lies 1, 2, 4, ... before.

    https://onnx.ai/onnx/operators/onnx__CumProd.html

    Raises:
        Refused: the axis is computed.
    """
    where = site.value(1)
    if where is None:
        raise Refused("has an axis that is not constant")
    shape = site.sizes()
    axis = int(where.reshape(-1)[0]) % len(shape)
    size = shape[axis]
    backward = bool(site.attribute("reverse", 0))
    data = given(site, 0)

    def moved(name: str, by: int) -> str:
        """The tensor moved by ``by`` along the axis, ones in its place."""
        ones = list(shape)
        ones[axis] = min(by, size)
        filler = constant_like(site, np.ones(ones), name)
        if by >= size:
            return filler
        if backward:
            return concat(site, [cut(site, name, axis, by, size), filler], axis)
        return concat(site, [filler, cut(site, name, axis, 0, size - by)], axis)

    if site.attribute("exclusive", 0):
        data = moved(data, 1)
    step = 1
    while step < size:
        data = site.add("Mul", [data, moved(data, step)])
        step *= 2
    site.become("Identity", [data])
