"""Convolutions and matrix products of integers, in float32 where that holds them exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tvmkd.export.rewrites.integers import (
    EXACT,
    attributes,
    become_integers,
    bias,
    centred,
    dequantised,
    fixed,
    given,
    is_weights,
    quantised,
    real,
    rounded,
    rounded_rows,
    single,
    weights,
)
from tvmkd.export.rewrites.plain import cast, cut, give, reduce, reshape
from tvmkd.export.site import Refused, Site

_BYTES = {TensorProto.INT8, TensorProto.UINT8}
_BLOCK = 32  # of weights with one scale for each column
_NIBBLES = "weights of 4 bits in blocks of "
_WIDE = {*_BYTES, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32}


def qlinear_conv(site: Site) -> None:
    """``QLinearConv``: in QDQ form, or a sum of integers, in float32, then scaled and rounded.

    The latter as ONNX Runtime does it, so that halves are rounded the same way: one product by
    ``x_scale * w_scale / y_scale``. https://onnx.ai/onnx/operators/onnx__QLinearConv.html
    """
    if _linear_conv(site):
        return
    column = (-1,) + (1,) * (len(site.sizes(3)) - 1)
    data = centred(site, given(site, 0), single(site, 2))
    kernel = centred(site, given(site, 3), given(site, 5), column)
    bias = [cast(site, given(site, 8), TensorProto.FLOAT)] if site.has(8) else []
    total = site.add("Conv", [data, kernel, *bias], **attributes(site))
    unit = site.add("Div", [site.add("Mul", [single(site, 1), given(site, 4)]), single(site, 6)])
    if site.shape_of(given(site, 4)) not in {(), (1,)}:
        unit = reshape(site, unit, column[:-1])
    scaled = site.add("Mul", [total, unit])
    site.become("Identity", [rounded(site, scaled, single(site, 7), site.elem_type(7))])


def _linear_conv(site: Site) -> bool:
    """Writes a convolution with constant weights in QDQ form; whether it is one."""
    x_scale, x_zero, y_scale, y_zero = (single(site, at) for at in (1, 2, 6, 7))
    unit = site.value(4)
    if not fixed(site, given(site, 0), x_scale, x_zero) or not is_weights(site, 3) or unit is None:
        return False
    if y_scale not in site.scope.constants:
        return False
    names = [dequantised(site, given(site, 0), x_scale, x_zero)]
    names.append(weights(site, 3, 0 if unit.size > 1 else None))
    if site.has(8):
        names.append(bias(site, 8, x_scale, unit))
    quantised(site, site.add("Conv", names, **attributes(site)), y_scale, y_zero)
    return True


def _linear_matmul(site: Site) -> bool:
    """Writes a product with a constant matrix in QDQ form; whether it is one."""
    if any(site.sizes(at) not in {(), (1,)} for at in (1, 2)):
        return False
    x_scale, x_zero, y_scale, y_zero = (single(site, at) for at in (1, 2, 6, 7))
    unit, rank = site.value(4), len(site.sizes(3))
    if not fixed(site, given(site, 0), x_scale, x_zero) or not is_weights(site, 3):
        return False
    if y_scale not in site.scope.constants or unit is None or unit.ndim > 1 or rank < 2:
        return False
    right = weights(site, 3, rank - 1 if unit.size > 1 else None)
    total = site.add("MatMul", [dequantised(site, given(site, 0), x_scale, x_zero), right])
    quantised(site, total, y_scale, y_zero)
    return True


def qlinear_matmul(site: Site) -> None:
    """``QLinearMatMul``, in the same way.

    https://onnx.ai/onnx/operators/onnx__QLinearMatMul.html
    """
    if _linear_matmul(site):
        return
    rows, columns = _shape_of_scales(site, 1, False), _shape_of_scales(site, 4, True)
    left = centred(site, given(site, 0), given(site, 2), rows)
    right = centred(site, given(site, 3), given(site, 5), columns)
    total = site.add("MatMul", [left, right])
    scales = []
    for index, column in ((1, rows), (4, columns)):
        name = given(site, index)
        if site.sizes_of(name) in {(), (1,)}:
            name = single(site, index)
        elif column is not None:
            name = reshape(site, name, column)
        scales.append(cast(site, name, TensorProto.FLOAT))
    last = cast(site, single(site, 6), TensorProto.FLOAT)
    unit = site.add("Div", [site.add("Mul", scales), last])
    scaled = site.add("Mul", [total, unit])
    site.become("Identity", [rounded(site, scaled, single(site, 7), site.elem_type(7))])


def _shape_of_scales(site: Site, index: int, columns: bool) -> tuple[int, ...] | None:
    """The shape in which scales of a matrix are broadcast; None: as they are."""
    shape = site.sizes(index)
    if len(shape) != 1 or shape == (1,):
        return None
    return (1, -1) if columns else (-1, 1)


def conv_integer(site: Site) -> None:
    """``ConvInteger`` in float32, in so many parts that each is exact.

    https://onnx.ai/onnx/operators/onnx__ConvInteger.html

    Raises:
        Refused: its groups would have to be cut.
    """
    shape = site.sizes(1)
    column = (-1,) + (1,) * (len(shape) - 1)
    data = centred(site, given(site, 0), single(site, 2))
    kernel = centred(site, given(site, 1), given(site, 3), column)
    options = attributes(site)
    count = -(-_largest_sum(site, 1, 3, 0) // EXACT)
    if count > 1 and (site.attribute("group", 1) > 1 or count > shape[1]):
        raise Refused("has sums beyond what float32 holds exactly")
    step = -(-shape[1] // count)
    results = []
    for begin in range(0, shape[1], step):
        names = [data, kernel]
        if count > 1:
            end = min(begin + step, shape[1])
            names = [cut(site, name, 1, begin, end) for name in names]
        results.append(cast(site, site.add("Conv", names, **options), TensorProto.INT32))
    while len(results) > 1:
        results[:2] = [site.add("Add", results[:2])]
    site.become("Identity", results)


def matmul_integer(site: Site) -> None:
    """``MatMulInteger`` in float32 where that is exact, otherwise in int32.

    https://onnx.ai/onnx/operators/onnx__MatMulInteger.html
    """
    rank = len(site.sizes(1))
    if _largest_sum(site, 1, 3, max(rank - 1, 0)) <= EXACT:
        total = site.add("MatMul", _operands(site, (0, 2), (1, 3)))
        site.become("Cast", [total], to=TensorProto.INT32)
        return
    site.become("MatMul", _operands(site, (0, 2), (1, 3), TensorProto.INT32))


def _operands(
    site: Site, left: tuple[int, int], right: tuple[int, int], kind: int = TensorProto.FLOAT
) -> list[str]:
    """Two matrices less their zero points: one, or one for each row of the left, each column of
    the right one.
    """
    names = []
    for (index, zero), column in ((left, (-1, 1)), (right, (1, -1))):
        point = given(site, zero)
        shape = site.shape_of(point) if point else ()
        known = column if shape is not None and len(shape) == 1 else None
        names.append(cast(site, centred(site, given(site, index), point, known), kind))
    return names


def _largest_sum(site: Site, index: int, zero: int, axis: int) -> int:
    """The largest sum of products with bytes: of constant weights what they are, else by type."""
    shape, values = site.sizes(index), site.value(index)
    lengths = math.prod(shape) // shape[axis] if axis == 0 else shape[-2] if len(shape) > 1 else 1
    points = site.value(zero) if site.has(zero) else np.zeros(1)
    if values is None or points is None:
        return int(lengths * 255 * 255)
    wide = values.astype(np.int64)
    if points.size > 1 and axis == 0:
        points = points.reshape((-1,) + (1,) * (len(shape) - 1))
    centred_ = np.abs(wide - points.astype(np.int64))
    summed = (
        centred_.reshape(shape[0], -1).sum(1)
        if axis == 0
        else centred_.sum(-2 if len(shape) > 1 else 0)
    )
    return int(summed.max(initial=0)) * 255


def dynamic_range(site: Site, data: str) -> tuple[str, str, str]:
    """``DynamicQuantizeLinear`` of a tensor: uint8 values, float32 scale, uint8 zero point.

    The scale is 1 where all values are 0, as in ONNX Runtime.
    https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html
    """
    axes = list(range(len(site.sizes_of(data))))
    zero, most, one = (site.constant(np.array(value, np.float32)) for value in (0, 255, 1))
    high = site.add("Max", [reduce(site, "Max", data, axes, keepdims=False), zero])
    low = site.add("Min", [reduce(site, "Min", data, axes, keepdims=False), zero])
    scale = site.add("Div", [site.add("Sub", [high, low]), most])
    scale = site.add("Where", [site.add("Equal", [scale, zero]), one, scale])
    point = rounded(site, site.add("Div", [site.add("Neg", [low]), scale]), "", TensorProto.UINT8)
    values = rounded(site, site.add("Div", [data, scale]), point, TensorProto.UINT8)
    return values, scale, point


def dynamic_quantize(site: Site) -> None:
    """``DynamicQuantizeLinear``: see `dynamic_range`."""
    give(site, *dynamic_range(site, site.node.input[0]))


def quantize(site: Site) -> None:
    """``QuantizeLinear`` in blocks is refused, and so are types that TVM has no arithmetic for.

    Raises:
        Refused: it is one of these.
    """
    kind = site.elem_type(2) if site.has(2) else site.attribute("output_dtype", TensorProto.UINT8)
    kind = kind or TensorProto.UINT8
    if kind not in _WIDE:
        raise Refused(f"gives the type {_type_name(kind)}")
    if site.attribute("block_size", 0):
        raise Refused("has block_size")
    if site.node.domain:
        _plain_linear(site, "QuantizeLinear")


def dequantize(site: Site) -> None:
    """``DequantizeLinear`` of constants in blocks or small types becomes a float constant.

    Raises:
        Refused: another node computes them.
    """
    values, scale = site.value(0), site.value(1)
    block, kind = site.attribute("block_size", 0), site.elem_type()
    if not block and kind in _WIDE and len(site.shape(1) or ()) <= 1:
        if site.node.domain:
            _plain_linear(site, "DequantizeLinear")
        return
    what = f"block_size={block}" if block else f"the type {_type_name(kind)}"
    if values is None or scale is None or (site.has(2) and site.value(2) is None):
        raise Refused(f"has {what} and inputs that are not constant")
    zero = site.value(2)
    shape, axis = values.shape, site.attribute("axis", 1)
    wide = [np.zeros(1) if each is None else each.astype(np.float64) for each in (zero, scale)]
    points, scales = (_spread(each, shape, axis, block) for each in wide)
    result = (values.astype(np.float64) - points) * scales
    dtype = helper.tensor_dtype_to_np_dtype(site.attribute("output_dtype", 0) or site.elem_type(1))
    tensor = numpy_helper.from_array(result.astype(dtype))
    if kind in {TensorProto.INT4, TensorProto.UINT4} and result.ndim == 2:
        tensor.doc_string = f"{_NIBBLES}{block or _BLOCK}"
    site.become("Constant", [], value=tensor)


def matmul(site: Site) -> None:
    """``MatMul`` by constant weights of 4 bits, whose other side ONNX Runtime rounds to 8 bits.

    Where its width is no multiple of the weights' block, ONNX Runtime does not, and neither does
    this.
    """
    tensor = site.scope.constants.get(given(site, 1))
    if tensor is None or not tensor.doc_string.startswith(_NIBBLES):
        return
    block, width = int(tensor.doc_string.removeprefix(_NIBBLES)), site.sizes()[-1]
    weights = site.constant(numpy_helper.to_array(tensor))
    data = given(site, 0)
    if (width % block == 0 or width < block) and site.elem_type() == TensorProto.FLOAT:
        data = rounded_rows(site, data, block)
    site.become("MatMul", [data, weights])


def _plain_linear(site: Site, operator: str) -> None:
    """com.microsoft's operator as ONNX's, in arithmetic where its opset has not the type."""
    wide = {TensorProto.INT16, TensorProto.UINT16}
    quantises = operator == "QuantizeLinear"
    kind = (
        site.elem_type(2 if quantises else 0) if site.has(2) or not quantises else TensorProto.UINT8
    )
    axis, shape = site.attribute("axis", 1), site.shape(1)
    if kind not in wide or site.scope.target >= 21:
        extra = {} if shape in {None, (), (1,)} else {"axis": axis}
        site.become(operator, list(site.node.input), **extra)
        return
    if shape not in {(), (1,)}:
        raise Refused("has 16 bits and a scale for each row")
    scale, zero = single(site, 1), single(site, 2)
    if quantises:
        become_integers(site, given(site, 0), scale, zero)
    else:
        site.become("Identity", [real(site, given(site, 0), scale, zero)])


def _spread(values: np.ndarray, shape: Sequence[int], axis: int, block: int) -> np.ndarray:
    """Values for a tensor, an axis or blocks of an axis, as they are broadcast to ``shape``."""
    if values.size == 1:
        return values.reshape(())
    if block:
        repeated: np.ndarray = np.repeat(values, block, axis)
        return np.take(repeated, np.arange(shape[axis]), axis)
    if values.ndim == 1:
        column = [1] * len(shape)
        column[axis] = -1
        return values.reshape(column)
    return values


def _type_name(kind: int) -> str:
    return str(onnx.TensorProto.DataType.Name(kind)).lower()
