"""ONNX Runtime's own operators on integers (com.microsoft), in plain ones.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from tvmkd.export.rewrites.integers import (
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
from tvmkd.export.rewrites.plain import cast, concat, reduce, reshape, transpose
from tvmkd.export.rewrites.quantised import dynamic_range
from tvmkd.export.site import Refused, Site


def binary(operator: str) -> Callable[[Site], None]:
    """``QLinearAdd`` and ``QLinearMul``: two tensors, each with its scale and zero point."""

    def lowering(site: Site) -> None:
        sides = [
            real(site, given(site, at), single(site, at + 1), single(site, at + 2)) for at in (0, 3)
        ]
        become_integers(site, site.add(operator, sides), single(site, 6), single(site, 7))

    return lowering


def unary(operator: str, *but: str) -> Callable[[Site], None]:
    """``QLinearSigmoid``, ``QLinearAveragePool``, ...: one tensor in, one out."""

    def lowering(site: Site) -> None:
        data = real(site, given(site, 0), single(site, 1), single(site, 2))
        turned = site.attribute("channels_last", 0)
        rank = len(site.sizes()) if turned else 0
        if turned:
            data = transpose(site, data, 0, rank - 1, *range(1, rank - 1))
        result = site.add(operator, [data], **attributes(site, "channels_last", *but))
        if turned:
            result = transpose(site, result, 0, *range(2, rank), 1)
        become_integers(site, result, single(site, 3), single(site, 4))

    return lowering


def qlinear_softmax(site: Site) -> None:
    """``QLinearSoftmax``; before opset 13 over all axes from ``axis`` on."""
    data = real(site, given(site, 0), single(site, 1), single(site, 2))
    shape = site.sizes()
    old = site.attribute("opset", 13) < 13
    axis = site.attribute("axis", 1 if old else -1) % len(shape)
    if old:
        rows = int(np.prod(shape[:axis], dtype=np.int64))
        flat = site.add("Softmax", [reshape(site, data, [rows, -1])], axis=-1)
        result = reshape(site, flat, shape)
    else:
        result = site.add("Softmax", [data], axis=axis)
    become_integers(site, result, single(site, 3), single(site, 4))


def qlinear_concat(site: Site) -> None:
    """``QLinearConcat``: the output's scale and zero point, then three inputs for each tensor."""
    sides = [
        real(site, given(site, at), single(site, at + 1), single(site, at + 2))
        for at in range(2, len(site.node.input), 3)
    ]
    joined = concat(site, sides, site.attribute("axis", 0))
    become_integers(site, joined, single(site, 0), single(site, 1))


def qlinear_reduce_mean(site: Site) -> None:
    """``QLinearReduceMean``."""
    data = real(site, given(site, 0), single(site, 1), single(site, 2))
    axes = site.attribute("axes") or list(range(len(site.sizes())))
    mean = reduce(site, "Mean", data, axes, bool(site.attribute("keepdims", 1)))
    become_integers(site, mean, single(site, 3), single(site, 4))


def qlinear_where(site: Site) -> None:
    """``QLinearWhere``: condition, two tensors with scale and zero point, those of the output."""
    sides = [
        real(site, given(site, at), single(site, at + 1), single(site, at + 2)) for at in (1, 4)
    ]
    chosen = site.add("Where", [given(site, 0), *sides])
    become_integers(site, chosen, single(site, 7), single(site, 8))


def _matrix(site: Site, index: int, zero: int, turned: bool) -> str:
    """The right matrix less its zero points, which may be one for each column."""
    columns = (-1, 1) if turned else (1, -1)
    name = given(site, zero)
    shape = site.shape_of(name) if name else ()
    data = centred(site, given(site, index), name, columns if shape and len(shape) == 1 else None)
    return transpose(site, data, 1, 0) if turned else data


def _linear_gemm(site: Site) -> bool:
    """Writes a product with a constant matrix as a Gemm in QDQ form; whether it is one."""
    x_scale, x_zero, turned = single(site, 1), single(site, 2), site.attribute("transB", 0)
    unit = site.value(4)
    if site.attribute("alpha", 1.0) != 1 or unit is None or not site.has(7):
        return False
    if not fixed(site, given(site, 0), x_scale, x_zero) or not is_weights(site, 3):
        return False
    if single(site, 7) not in site.scope.constants:
        return False
    many = unit.size > 1
    names = [dequantised(site, given(site, 0), x_scale, x_zero)]
    names.append(weights(site, 3, (0 if turned else 1) if many else None))
    if site.has(6):
        names.append(bias(site, 6, x_scale, unit))
    total = site.add("Gemm", names, transA=site.attribute("transA", 0), transB=turned)
    quantised(site, total, single(site, 7), single(site, 8))
    return True


def qgemm(site: Site) -> None:
    """``QGemm``: integers with an integer bias; real numbers where no output scale is given."""
    if _linear_gemm(site):
        return
    left = centred(site, given(site, 0), single(site, 2))
    if site.attribute("transA", 0):
        left = transpose(site, left, 1, 0)
    total = site.add("MatMul", [left, _matrix(site, 3, 5, bool(site.attribute("transB", 0)))])
    if site.has(6):
        total = site.add("Add", [total, cast(site, given(site, 6), TensorProto.FLOAT)])
    unit = site.add("Mul", [single(site, 1), given(site, 4)])
    if site.attribute("alpha", 1.0) != 1:
        alpha = site.constant(np.array(site.attribute("alpha"), np.float32))
        unit = site.add("Mul", [unit, alpha])
    if not site.has(7):
        site.become("Mul", [total, unit])
        return
    scaled = site.add("Mul", [total, site.add("Div", [unit, single(site, 7)])])
    site.become("Identity", [rounded(site, scaled, single(site, 8), site.elem_type(8))])


def dynamic_matmul(site: Site) -> None:
    """``DynamicQuantizeMatMul``: a real matrix, quantised by its own range, times integers."""
    values, scale, zero = dynamic_range(site, given(site, 0))
    total = site.add("MatMul", [centred(site, values, zero), _matrix(site, 1, 3, False)])
    scaled = site.add("Mul", [total, site.add("Mul", [scale, given(site, 2)])])
    _with_bias(site, scaled, 4)


def matmul_integer_to_float(site: Site) -> None:
    """``MatMulIntegerToFloat``: A, B, their scales, their zero points, a bias."""
    left = centred(site, given(site, 0), single(site, 4))
    total = site.add("MatMul", [left, _matrix(site, 1, 5, False)])
    scaled = site.add("Mul", [total, site.add("Mul", [single(site, 2), given(site, 3)])])
    _with_bias(site, scaled, 6)


def _with_bias(site: Site, data: str, index: int) -> None:
    if site.has(index):
        site.become("Add", [data, given(site, index)])
    else:
        site.become("Identity", [data])


def matmul_nbits(site: Site) -> None:
    """``MatMulNBits``: constant weights of 2, 4 or 8 bits become float constants.

    Raises:
        Refused: the weights are not constant, or are ordered by ``g_idx``.
    """
    bits, block = site.attribute("bits", 4), site.attribute("block_size")
    inner, outer = site.attribute("K"), site.attribute("N")
    packed, scales = site.value(1), site.value(2)
    if packed is None or scales is None or site.has(4):
        raise Refused("has weights that are not constant, or that are ordered by g_idx")
    count = -(-inner // block)
    values = _unpacked(packed.reshape(outer, count, -1), bits)[:, :, :block].astype(np.float64)
    zeros = np.full((outer, count), float(1 << (bits - 1)))
    if site.has(3):
        points = site.value(3)
        if points is None:
            raise Refused("has zero points that are not constant")
        wide = points.reshape(outer, -1)
        zeros = (_unpacked(wide, bits) if points.dtype == np.uint8 else wide)[:, :count]
    real_ = (values - zeros[:, :, None]) * scales.astype(np.float64).reshape(outer, count, 1)
    weights = real_.reshape(outer, -1)[:, :inner].T.astype(scales.dtype)
    data = given(site, 0)
    if site.attribute("accuracy_level", 0) == 4 and site.elem_type() == TensorProto.FLOAT:
        data = rounded_rows(site, data, block)
    total = site.add("MatMul", [data, site.constant(np.ascontiguousarray(weights))])
    _with_bias(site, total, 5)


def _unpacked(packed: np.ndarray, bits: int) -> np.ndarray:
    """Small integers from bytes, the lowest bits first, along the last axis."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    parts = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return np.asarray(parts.reshape(*packed.shape[:-1], -1))
