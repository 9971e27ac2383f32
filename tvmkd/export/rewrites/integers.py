"""Quantises and dequantises tensors with plain operators."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from tvmkd.export.rewrites.plain import cast, reduce, reshape
from tvmkd.export.site import Refused, Site

_RANGES = {
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT16: (-32768, 32767),
    TensorProto.UINT16: (0, 65535),
}
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
    from onnx import numpy_helper

    return bool(numpy_helper.to_array(tensor).any())


def real(
    site: Site, data: str, scale: str, zero: str = "", column: tuple[int, ...] | None = None
) -> str:
    """The real numbers, in float32, that integers stand for."""
    if column is not None and site.shape_of(scale) not in {None, (), (1,)}:
        scale = reshape(site, scale, column)
    return site.add("Mul", [centred(site, data, zero, column), scale])


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
