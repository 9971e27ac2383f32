"""Quantises and dequantises tensors with plain operators."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tvmkd.export.rewrites.plain import cast, reduce, reshape
from tvmkd.export.site import Refused, Site

_RANGES = {
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT16: (-32768, 32767),
    TensorProto.UINT16: (0, 65535),
}
_BYTES = {TensorProto.INT8, TensorProto.UINT8}
EXACT = 1 << 24  # the integers that float32 holds exactly


def given(site: Site, index: int) -> str:
    """The name of an input, "" where it is absent."""
    return site.node.input[index] if site.has(index) else ""


def single(site: Site, index: int) -> str:
    """An input of one element as a scalar; "" where it is absent.

    Raises:
        Refused: it has more elements.
    """
    name = given(site, index)
    shape = site.shape_of(name) if name else ()
    if shape == ():
        return name
    value = site.value(index)
    if value is not None and value.size == 1:
        return site.constant(value.reshape(()))
    if shape is None or any(size != 1 for size in shape):
        raise Refused("has a scale or a zero point for each row of the matrix")
    return reshape(site, name, [])


def centred(site: Site, data: str, zero: str, column: tuple[int, ...] | None = None) -> str:
    """Integers less their zero point, as float32: exact.

    Args:
        site: the node.
        data, zero: tensors; "" for zero: there is none.
        column: shape of the zero points if there is one for each row.
    """
    wide = cast(site, data, TensorProto.FLOAT)
    constant = site.scope.constants.get(zero)
    if not zero or (constant is not None and not _any(constant)):
        return wide
    point = cast(site, zero, TensorProto.FLOAT)
    if column is not None and site.shape_of(zero) not in {None, (), (1,)}:
        point = reshape(site, point, column)
    return site.add("Sub", [wide, point])


def _any(tensor: TensorProto) -> bool:
    return bool(numpy_helper.to_array(tensor).any())


def real(
    site: Site, data: str, scale: str, zero: str = "", column: tuple[int, ...] | None = None
) -> str:
    """The real numbers, in float32, that integers stand for."""
    if site.shape_of(scale) == () and fixed(site, data, scale, zero):
        return dequantised(site, data, scale, zero)
    if column is not None and site.shape_of(scale) not in {None, (), (1,)}:
        scale = reshape(site, scale, column)
    return site.add("Mul", [centred(site, data, zero, column), scale])


def fixed(site: Site, data: str, scale: str, zero: str) -> bool:
    """Whether bytes have a constant scale in float32, and a constant zero point or none.

    Such a tensor can be written with QuantizeLinear or DequantizeLinear, and the compiler computes
    with its integers.
    """
    constants = site.scope.constants
    if scale not in constants or (zero and zero not in constants):
        return False
    if constants[scale].data_type != TensorProto.FLOAT:
        return False
    # A zero point has the type of its tensor, which may not be known.
    kind = constants[zero].data_type if zero else site.elem_type_of(data)
    return kind in _BYTES


def dequantised(site: Site, data: str, scale: str, zero: str, axis: int | None = None) -> str:
    """The real numbers that integers stand for, by DequantizeLinear.

    Args:
        site: the node.
        data, scale, zero: tensors; "" for zero: there is none.
        axis: that scales belong to, if there is more than one.
    """
    more = {} if axis is None else {"axis": axis}
    return site.add("DequantizeLinear", [name for name in (data, scale, zero) if name], **more)


def is_weights(site: Site, index: int) -> bool:
    """Whether an input is constant bytes; their scale and zero point are the inputs behind it."""
    known = given(site, index) in site.scope.constants and site.value(index + 2) is not None
    return known and fixed(site, *(given(site, at) for at in range(index, index + 3)))


def weights(site: Site, index: int, axis: int | None) -> str:
    """Such an input, dequantised."""
    if axis is None:
        scale, zero = single(site, index + 1), single(site, index + 2)
        return dequantised(site, given(site, index), scale, zero)
    scales, points = site.value(index + 1), site.value(index + 2)
    assert scales is not None
    assert points is not None
    zeros = site.constant(np.broadcast_to(points.reshape(-1), scales.shape).copy())
    return dequantised(site, given(site, index), given(site, index + 1), zeros, axis)


def bias(site: Site, index: int, scale: str, units: np.ndarray) -> str:
    """An input of int32, dequantised: in units of a data's scale times those of the weights."""
    one = numpy_helper.to_array(site.scope.constants[scale]) * units
    many = units.size > 1
    one = np.asarray(one, np.float32).reshape(-1 if many else ())
    zeros = site.constant(np.zeros(one.shape, np.int32))
    return dequantised(site, given(site, index), site.constant(one), zeros, 0 if many else None)


def quantised(site: Site, data: str, scale: str, zero: str) -> None:
    """Makes the site's output the integers that stand for ``data``, by QuantizeLinear."""
    site.become("QuantizeLinear", [name for name in (data, scale, zero) if name])


def rounded(site: Site, data: str, zero: str, kind: int) -> str:
    """Real numbers, divided by their scale already, as integers of the type ``kind``.

    To the nearest, halves to even, then the zero point is added, then bounded.
    """
    low, high = (site.constant(np.array(value, np.float32)) for value in _RANGES[kind])
    whole = site.add("Round", [data])
    constant = site.scope.constants.get(zero)
    if zero and (constant is None or _any(constant)):
        whole = site.add("Add", [whole, cast(site, zero, TensorProto.FLOAT)])
    return site.add("Cast", [site.add("Clip", [whole, low, high])], to=kind)


def become_integers(site: Site, data: str, scale: str, zero: str) -> None:
    """Makes the site's output the integers, uint8 without a zero point, that stand for ``data``."""
    kind = site.elem_type_of(zero) if zero else TensorProto.UINT8
    known = all(name in site.scope.constants for name in (scale, zero) if name)
    if known and kind in _BYTES and site.elem_type_of(scale) == TensorProto.FLOAT:
        quantised(site, data, scale, zero)
        return
    result = rounded(site, site.add("Div", [data, scale]), zero, kind)
    site.become("Identity", [result])


def attributes(site: Site, *but: str) -> dict[str, object]:
    """The node's attributes by name, but some."""
    return {
        entry.name: helper.get_attribute_value(entry)
        for entry in site.node.attribute
        if entry.name not in but
    }


def rounded_rows(site: Site, data: str, block: int) -> str:
    """Rows of real numbers as 8-bit integers with one scale for each ``block`` of them would be.

    ONNX Runtime rounds so what it multiplies by weights of 4 bits.
    """
    shape = site.sizes_of(data)
    width = shape[-1]
    if width % block:
        block = width
    cells = reshape(site, data, [*shape[:-1], width // block, block])
    last = len(shape)
    largest = reduce(site, "Max", site.add("Abs", [cells]), [last])
    zero, one, most = (site.constant(np.array(value, np.float32)) for value in (0, 1, 127))
    safe = site.add("Where", [site.add("Equal", [largest, zero]), one, largest])
    scale = site.add("Div", [safe, most])
    whole = site.add("Round", [site.add("Div", [cells, scale])])
    return reshape(site, site.add("Mul", [whole, scale]), shape)
