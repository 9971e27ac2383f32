"""Operators on single elements whose edge cases or types TVM's importers miss."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tvmkd.export.rewrites.integers import given
from tvmkd.export.rewrites.plain import cast, constant_like, give, unsqueeze
from tvmkd.export.site import Refused, Site

_HALVES = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
_FLOATS = {*_HALVES, TensorProto.FLOAT, TensorProto.DOUBLE}
_COMMON = {
    *_FLOATS,
    *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
    *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
    TensorProto.BOOL,
}


def hyperbolic(site: Site) -> None:
    """``Sinh`` and ``Cosh``, for which LLVM has no function: half of ``e**x`` and of ``e**-x``."""
    data = site.node.input[0]
    # A factor of one half inside: e**x alone is infinite before its half is.
    half = site.filled(math.log(2))
    up = site.add("Exp", [site.add("Sub", [data, half])])
    down = site.add("Exp", [site.add("Sub", [site.add("Neg", [data]), half])])
    site.become("Sub" if site.node.op_type == "Sinh" else "Add", [up, down])


def is_inf(site: Site) -> None:
    """``IsInf`` of one sign or of none; of both it stays."""
    above, below = (bool(site.attribute(f"detect_{name}", 1)) for name in ("positive", "negative"))
    if above and below:
        return
    data = given(site, 0)
    if site.elem_type() in _HALVES:
        data = cast(site, data, TensorProto.FLOAT)
    if not above and not below:
        # No number is less than itself, and neither is NaN.
        site.become("Less", [data, data])
        return
    site.become("Equal", [data, constant_like(site, np.inf if above else -np.inf, data)])


def bit_shift(site: Site) -> None:
    """``BitShift`` by the width or more: 0, or the sign where it fills from the left.

    Computed amounts are left to the compiler. https://onnx.ai/onnx/operators/onnx__BitShift.html
    """
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(site.elem_type()))
    width, signed = dtype.itemsize * 8, dtype.kind == "i"
    amount, data = site.value(1), given(site, 0)
    if amount is None or ((amount >= 0).all() and (amount < width).all()):
        return
    direction = site.attribute("direction")
    far = (amount < 0) | (amount >= width)
    near = site.constant(np.where(far, 0, amount).astype(amount.dtype))
    shifted = site.add("BitShift", [data, near], direction=direction)
    end = constant_like(site, 0, data)
    if signed and direction == "RIGHT":
        negative = site.add("Less", [data, end])
        end = site.add("Where", [negative, constant_like(site, -1, data), end])
    site.become("Where", [site.constant(far), end, shifted])


def modulo(site: Site) -> None:
    """``Mod`` of floats with the divisor's sign, by the remainder with the dividend's.

    https://onnx.ai/onnx/operators/onnx__Mod.html
    """
    if site.elem_type() not in _FLOATS or site.attribute("fmod", 0):
        return
    data, divisor = given(site, 0), given(site, 1)
    zero = constant_like(site, 0, data)
    rest = site.add("Mod", [data, divisor], fmod=1)
    differs = site.add("Xor", [site.add("Less", [rest, zero]), site.add("Less", [divisor, zero])])
    nothing = site.add("Equal", [rest, zero])
    moved = site.add("Where", [differs, site.add("Add", [rest, divisor]), rest])
    # Of nothing left the divisor's sign is left.
    none = site.add(
        "Where", [site.add("Less", [divisor, zero]), constant_like(site, -0.0, data), zero]
    )
    site.become("Where", [nothing, none, moved])


def power(site: Site) -> None:
    """``Pow`` of two types, of integers, and by small constants.

    The result has the type of the base. https://onnx.ai/onnx/operators/onnx__Pow.html
    """
    base, exponent = given(site, 0), given(site, 1)
    kind, other = site.elem_type(), site.elem_type(1)
    value = site.value(1)
    rank, shape = len(site.shape() or ()), site.shape()
    if value is not None and value.size == 1 and shape is not None and value.ndim <= rank:
        number = float(value.reshape(()))
        if number in {1.0, 2.0, 3.0}:
            result = base
            for _ in range(int(number) - 1):
                result = site.add("Mul", [result, base])
            site.become("Identity", [result])
            return
    if kind in _FLOATS:
        if other != kind:
            site.become("Pow", [base, site.add("Cast", [exponent], to=kind)])
        return
    wide = [site.add("Cast", [name], to=TensorProto.DOUBLE) for name in (base, exponent)]
    site.become("Cast", [site.add("Pow", wide)], to=kind)


def one_hot(site: Site) -> None:
    """``OneHot``: a comparison with the numbers from 0 to the depth.

    Raises:
        Refused: the depth is computed.
    """
    depth = site.value(1)
    if depth is None:
        raise Refused("has a depth that is not constant")
    count, rank = int(depth.reshape(-1)[0]), len(site.sizes())
    axis = site.attribute("axis", -1) % (rank + 1)
    indices = cast(site, given(site, 0), TensorProto.INT64)
    zero, whole = (site.constant(np.array(value, np.int64)) for value in (0, count))
    negative = site.add("Less", [indices, zero])
    indices = site.add("Where", [negative, site.add("Add", [indices, whole]), indices])
    column = [1] * (rank + 1)
    column[axis] = count
    places = site.constant(np.arange(count).reshape(column))
    hit = site.add("Equal", [unsqueeze(site, indices, axis), places])
    off, on = (
        site.add("Gather", [given(site, 2), site.constant(np.array(at))], axis=0) for at in (0, 1)
    )
    site.become("Where", [hit, on, off])


def eye_like(site: Site) -> None:
    """``EyeLike`` of a known shape is a constant."""
    rows, columns = site.sizes()
    dtype = helper.tensor_dtype_to_np_dtype(site.attribute("dtype") or site.elem_type())
    eye = np.eye(rows, columns, site.attribute("k", 0)).astype(dtype)
    site.become("Constant", [], value=numpy_helper.from_array(eye))


def dropout(site: Site) -> None:
    """``Dropout``: in inference the input, and a mask of True.

    Raises:
        Refused: it trains.
    """
    ratio, training = site.value(1), site.value(2)
    trains = site.has(2) and (training is None or bool(training.any()))
    if trains and (ratio is None or bool((ratio > 0).any()) or not site.has(1)):
        raise Refused("has training_mode=1: its output is random")
    mask = ""
    if len(site.node.output) > 1 and site.node.output[1]:
        mask = site.constant(np.ones(site.sizes(), np.bool_))
    give(site, given(site, 0), mask)


def convert(site: Site) -> None:
    """``Cast`` and ``CastLike``: of constants of types that TVM has no arithmetic for, by numpy.

    Raises:
        Refused: such a type is computed.
    """
    before = site.elem_type()
    after = site.attribute("to") or site.elem_type(1)
    odd = next((kind for kind in (before, after) if kind not in _COMMON), None)
    if odd is None:
        return
    value = site.value(0)
    if after in _COMMON and value is not None and before != TensorProto.STRING:
        wide = value.astype(np.float32).astype(helper.tensor_dtype_to_np_dtype(after))
        site.become("Constant", [], value=numpy_helper.from_array(wide))
        return
    name = TensorProto.DataType.Name(odd).lower()
    raise Refused(f"has the type {name}, which TVM does not compute with")
