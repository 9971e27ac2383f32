"""Convolutions and matrix products of quantised tensors as tensor expressions, channels last.

Sums are int32 and exact. What follows them is part of the kernel: bias, scale, and the rounding to
the output's type. The data's zero point is no part of the sums: a padded value is the zero point,
and its products with the weights are known before, so that the bias takes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx

from tvmkd.stacks.relax.dot_products import SUM, Dot
from tvmkd.stacks.relax.interleave import BLOCK as INTERLEAVED
from tvmkd.stacks.relax.interleave import product, word
from tvmkd.stacks.relax.kernels import DEPTHWISE, PAD

DEPTHWISE_DOT = "depthwise_dot_sum"
"""A block's name; a schedule template recognises these kernels by it."""
WASTE = 2
"""Times the products of a grouped convolution, of which whole registers of channels are made."""
SMALL = 1 << 30
"""Numbers below this are rounded by an instruction for int32, which does not saturate."""


@dataclass(frozen=True)
class Rounded:
    """How a kernel rounds its results.

    Attributes:
        dtype: int8, uint8 or float32: these are not rounded.
        zero: the zero point.
        low, high: the smallest and the largest result, by which ReLU and Clip are done too.
        small: no result is beyond `SMALL` before it is rounded, whatever the data.
    """

    dtype: str = "float32"
    zero: int = 0
    low: int = 0
    high: int = 0
    small: bool = False


def _dtype(x: te.Tensor) -> str:
    return str(x.dtype).removeprefix("T.")


def data_zero(dot: Dot, dtype: str, zero: int) -> int:
    """The zero point of data of ``dtype`` in the type that an instruction reads."""
    if dot.data == "int16":
        return 0
    return zero + {"uint8": 0, "int8": 128}[dtype] - {"uint8": 0, "int8": 128}[dot.data]


def _staged(dot: Dot, value: Any, dtype: str, zero: int) -> Any:
    """One value of the data in the type that an instruction reads."""
    if dot.data == "int16":
        return value.astype("int16") - tirx.const(zero, "int16")
    if dot.data == dtype:
        return value
    sign = tirx.const(128 if dot.data == "uint8" else -128, dot.data)
    return tirx.reinterpret(dot.data, value) ^ sign


def pack(weight: np.ndarray, dot: Dot) -> np.ndarray:
    """Packs ``[OC, KH, KW, IC]`` as ``[OC / lanes, KH, KW, IC / depth, steps, lanes, group]``.

    Without the axis of steps if there is one. Output and input channels are filled with zeros. A
    register of an instruction is contiguous.
    """
    outer, height, width, inner = weight.shape
    fill = ((0, -outer % dot.lanes), (0, 0), (0, 0), (0, -inner % dot.depth))
    parts = np.pad(weight, fill).reshape(
        -1, dot.lanes, height, width, -(-inner // dot.depth), dot.steps, dot.group
    )
    parts = parts.transpose(0, 2, 3, 4, 5, 1, 6).astype(dot.weight)
    return np.ascontiguousarray(parts if dot.steps > 1 else parts[:, :, :, :, 0])


def padded_channels(values: np.ndarray, dot: Dot) -> np.ndarray:
    """A value for each output channel, filled with zeros as `pack` does."""
    return np.pad(values, (0, -len(values) % dot.lanes))


def _data(x: te.Tensor, dot: Dot, zero: int, pads: Sequence[int], depth: int) -> te.Tensor:
    """The data of an image in the type that an instruction reads, with all padding."""
    n, height, width, channels = x.shape
    top, left, bottom, right = pads
    more = -int(channels) % depth
    if not any(pads) and not more and dot.data == _dtype(x):
        return x
    outside = tirx.const(data_zero(dot, _dtype(x), zero), dot.data)

    def value(b: Any, i: Any, j: Any, c: Any) -> Any:
        inside = [i >= top, i < height + top, j >= left, j < width + left] if any(pads) else []
        if more:
            inside.append(c < channels)
        taken = _staged(dot, x[b, i - top, j - left, c], _dtype(x), zero)
        return tirx.if_then_else(tirx.all(*inside), taken, outside) if inside else taken

    shape = (n, height + top + bottom, width + left + right, channels + more)
    return te.compute(shape, value, name=PAD)


def _finished(total: te.Tensor, channels: int, after: Sequence[Any], how: Rounded) -> te.Tensor:
    """Results of the sums.

    Args:
        total: int32 ``[..., OC]``, filled.
        channels: without what it is filled with.
        after: int32 bias and float32 scale for each channel, and float32 what is added, or None.
    """
    bias, scale, offset = after

    def value(*at: Any) -> Any:
        channel = at[-1]
        result = (total[at] + bias[channel]).astype("float32") * scale[channel]
        if offset is not None:
            result = result + offset[channel]
        if how.dtype == "float32":
            return result
        if how.small:
            whole = tirx.call_llvm_pure_intrin("int32", "llvm.lrint", result)
            whole = whole + tirx.const(how.zero, "int32")
            low, high = (tirx.const(bound, "int32") for bound in (how.low, how.high))
            return te.max(te.min(whole, high), low).astype(how.dtype)
        result = tirx.round(result) + tirx.const(float(how.zero), "float32")
        low, high = (tirx.const(float(bound), "float32") for bound in (how.low, how.high))
        return te.max(te.min(result, high), low).astype("int32").astype(how.dtype)

    return te.compute((*total.shape[:-1], channels), value, name="requantized")


def _depth(
    parts: int, dot: Dot, weight: te.Tensor
) -> tuple[list[Any], Any, Callable[[Any, Any, Any], Any]]:
    """The axes over input channels, the channel, and the weight of an output channel and tap."""
    k, q = te.reduce_axis((0, parts), "ic"), te.reduce_axis((0, dot.group), "group")
    u = [te.reduce_axis((0, dot.steps), "step")] if dot.steps > 1 else []
    at = k * dot.depth + (u[0] * dot.group if u else 0) + q

    def of(c: Any, i: Any, j: Any) -> Any:
        return weight[(c // dot.lanes, i, j, k, *u, c % dot.lanes, q)].astype("int32")

    return [k, *u, q], at, of


def conv2d(
    x: te.Tensor,
    weight: te.Tensor,
    *after: te.Tensor,
    dot: Dot,
    channels: int,
    groups: int,
    zero: int,
    strides: Sequence[int],
    pads: Sequence[int],
    dilation: Sequence[int],
    how: Rounded,
) -> te.Tensor:
    """2-D convolution of bytes.

    Args:
        x: uint8 or int8 ``[N, H, W, IC]``.
        weight: packed by `pack`; of a group's input channels.
        after: see `_finished`.
        dot: the instruction.
        channels: of the output, OC.
        groups: each has a multiple of ``dot.lanes`` output channels if there is more than one.
        zero: zero point of ``x``.
        strides, pads, dilation: as in ONNX: pads top, left, bottom, right.
        how: the rounding.

    Returns:
        ``[N, OH, OW, OC]`` of ``how.dtype``.
    """
    blocks, kh, kw, parts = (int(size) for size in weight.shape[:4])
    data = _data(x, dot, zero, pads, dot.depth if groups == 1 else 1)
    n, height, width, inner = data.shape
    inner = int(inner) // groups
    rows, columns = (
        (int(size) - step * (taps - 1) - 1) // stride + 1
        for size, taps, step, stride in zip(
            (height, width), (kh, kw), dilation, strides, strict=True
        )
    )
    i, j = te.reduce_axis((0, kh), "kh"), te.reduce_axis((0, kw), "kw")
    axes, at, weight_of = _depth(parts, dot, weight)
    of_group = channels // groups

    def product(b: Any, h: Any, w: Any, c: Any) -> Any:
        inside = at if groups == 1 else c // of_group * inner + at
        row, column = h * strides[0] + i * dilation[0], w * strides[1] + j * dilation[1]
        return data[b, row, column, inside].astype("int32") * weight_of(c, i, j)

    total = te.compute(
        (n, rows, columns, blocks * dot.lanes),
        lambda *at: te.sum(product(*at), axis=[i, j, *axes]),
        name=SUM,
        attrs={"tvmkd.dot": dot.name},
    )
    return _finished(total, channels, _three(after), how)


def dense(
    x: te.Tensor,
    weight: te.Tensor,
    *after: te.Tensor,
    dot: Dot,
    channels: int,
    zero: int,
    how: Rounded,
) -> te.Tensor:
    """Matrix product of bytes ``[..., K]`` with constant weights, as `conv2d`: ``[..., OC]``."""
    *rows, inner = x.shape
    blocks, parts = int(weight.shape[0]), int(weight.shape[3])
    data, more = x, -int(inner) % dot.depth
    if more or dot.data != _dtype(x):
        outside = tirx.const(data_zero(dot, _dtype(x), zero), dot.data)

        def value(*at: Any) -> Any:
            taken = _staged(dot, x[at], _dtype(x), zero)
            return tirx.if_then_else(at[-1] < inner, taken, outside) if more else taken

        data = te.compute((*rows, inner + more), value, name=PAD)
    axes, at, weight_of = _depth(parts, dot, weight)

    def product(*place: Any) -> Any:
        return data[(*place[:-1], at)].astype("int32") * weight_of(place[-1], 0, 0)

    total = te.compute(
        (*rows, blocks * dot.lanes),
        lambda *at: te.sum(product(*at), axis=axes),
        name=SUM,
        attrs={"tvmkd.dot": dot.name},
    )
    return _finished(total, channels, _three(after), how)


def depthwise(
    x: te.Tensor,
    weight: te.Tensor,
    *after: te.Tensor,
    dot: Dot,
    zero: int,
    strides: Sequence[int],
    pads: Sequence[int],
    dilation: Sequence[int],
    how: Rounded,
) -> te.Tensor:
    """Depthwise convolution of bytes: x ``[N, H, W, C]``, weight int16 ``[KH, KW, C]``.

    Args:
        dot: of int16, one product for each sum.
    """
    kh, kw, channels = (int(size) for size in weight.shape)
    data = _data(x, dot, zero, pads, 1)
    n, height, width, _ = data.shape
    rows, columns = (
        (int(size) - step * (taps - 1) - 1) // stride + 1
        for size, taps, step, stride in zip(
            (height, width), (kh, kw), dilation, strides, strict=True
        )
    )
    i, j = te.reduce_axis((0, kh), "kh"), te.reduce_axis((0, kw), "kw")

    def product(b: Any, h: Any, w: Any, c: Any) -> Any:
        row, column = h * strides[0] + i * dilation[0], w * strides[1] + j * dilation[1]
        return data[b, row, column, c].astype("int32") * weight[i, j, c].astype("int32")

    total = te.compute(
        (n, rows, columns, channels), lambda *at: te.sum(product(*at), axis=[i, j]), name=DEPTHWISE
    )
    return _finished(total, channels, _three(after), how)


@dataclass(frozen=True)
class Cell:
    """Neighbouring pixels of a depthwise convolution that are interleaved and stored once.

    Attributes:
        taps: of one output.
        parts: groups of as many pixels as an instruction sums.
        outputs: pixels of the output whose taps are among them.
        stride: pixels from one output to the next.
    """

    taps: int
    parts: int
    outputs: int
    stride: int

    @classmethod
    def of(cls, taps: int, stride: int, columns: int, group: int) -> Cell:
        """For a row of taps and outputs: no tap is left out, and as many outputs as divide it."""
        parts = -(-taps // group)
        most = (parts * group - taps) // stride + 1
        return cls(taps, parts, max(n for n in range(1, most + 1) if columns % n == 0), stride)

    @property
    def step(self) -> int:
        """Pixels from one cell to the next."""
        return self.outputs * self.stride

    def pays(self, height: int, stride: int) -> bool:
        """Whether interleaving takes less time than it saves.

        Measured on Zen 4 with AVX2 and AVX-512: making a word takes as long as about six taps by
        `depthwise`.

        Args:
            height: rows of taps.
            stride: rows from one output to the next.
        """
        return stride * self.parts * 6 <= self.outputs * height * self.taps


def pack_depthwise(taps: np.ndarray, dot: Dot, cell: Cell) -> np.ndarray:
    """Packs ``[C, KH, KW]`` as ``[KH, outputs, parts, C / lanes, lanes, group]``.

    Each output of a cell has its taps at other pixels of it; the rest, and what channels lack to
    whole registers, is filled with zeros.
    """
    taps = np.pad(taps, ((0, -len(taps) % dot.lanes), (0, 0), (0, 0)))
    channels, height, width = taps.shape
    wide = np.zeros((channels, height, cell.outputs, cell.parts * dot.group), taps.dtype)
    for output in range(cell.outputs):
        begin = output * cell.stride
        wide[:, :, output, begin : begin + width] = taps
    parts = wide.reshape(-1, dot.lanes, height, cell.outputs, cell.parts, dot.group)
    return np.ascontiguousarray(parts.transpose(2, 3, 4, 0, 1, 5).astype(dot.weight))


def depthwise_dot(
    x: te.Tensor,
    weight: te.Tensor,
    *after: te.Tensor,
    dot: Dot,
    cell: Cell,
    channels: int,
    zero: int,
    strides: Sequence[int],
    pads: Sequence[int],
    dilation: Sequence[int],
    how: Rounded,
) -> te.Tensor:
    """Depthwise convolution of bytes by an instruction that sums products, as `depthwise`.

    Args:
        weight: packed by `pack_depthwise`.
        after: filled by `padded_channels`.
        channels: C.
        dilation: of rows; of columns it is 1.
    """
    kh, outputs, parts, blocks, lanes, group = (int(size) for size in weight.shape)
    filled, span = blocks * lanes, parts * group
    n, height, width, _ = (int(size) for size in x.shape)
    top, left, bottom, right = pads
    rows = (height + top + bottom - dilation[0] * (kh - 1) - 1) // strides[0] + 1
    columns = (width + left + right - cell.taps) // strides[1] + 1
    cells = columns // outputs
    more = max(0, (cells - 1) * cell.step + span - width - left - right)
    data = _data(x, dot, zero, [top, left, bottom, right + more], lanes)
    near = te.compute(
        (n, data.shape[1], cells, parts, filled),
        lambda b, i, m, p, c: word(
            [data[b, i, m * cell.step + p * group + q, c] for q in range(group)]
        ),
        name=INTERLEAVED,
    )
    i = te.reduce_axis((0, kh), "kh")
    p = te.reduce_axis((0, parts), "part")

    def value(b: Any, h: Any, w: Any, c: Any) -> Any:
        row = h * strides[0] + i * dilation[0]
        taps = [weight[i, w % outputs, p, c // lanes, c % lanes, q] for q in range(group)]
        return product(near[b, row, w // outputs, p, c], taps)

    total = te.compute(
        (n, rows, columns, filled),
        lambda *at: te.sum(value(*at), axis=[i, p]),
        name=DEPTHWISE_DOT,
        attrs={"tvmkd.dot": dot.name, "tvmkd.outputs": outputs},
    )
    return _finished(total, channels, _three(after), how)


def repeated(x: te.Tensor, times: int) -> te.Tensor:
    """An image ``[N, H, W, C]`` with each channel so many times, side by side."""
    *space, channels = x.shape
    return te.compute(
        (*space, channels * times), lambda *at: x[(*at[:-1], at[-1] // times)], name="repeated"
    )


def _three(after: Sequence[te.Tensor]) -> tuple[te.Tensor, te.Tensor, te.Tensor | None]:
    bias, scale, *offset = after
    return bias, scale, offset[0] if offset else None


def merged(taps: np.ndarray, groups: int, lanes: int) -> tuple[np.ndarray, int]:
    """Makes one group of several until its output channels fill registers.

    Args:
        taps: ``[OC, KH, KW, IC / groups]``.

    Returns:
        the weights, with zeros between the parts, and the number of groups; as they are if that
        would be more than `WASTE` times the work.
    """
    outer, inner = len(taps) // groups, taps.shape[3]
    times = lanes // int(np.gcd(outer, lanes))
    if groups == 1 or times == 1 or times > WASTE or groups % times:
        return taps, groups
    wide = np.zeros((*taps.shape[:3], inner * times), taps.dtype)
    for channel, tap in enumerate(taps):
        begin = channel // outer % times * inner
        wide[channel, :, :, begin : begin + inner] = tap
    return wide, groups // times
