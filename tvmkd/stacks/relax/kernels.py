"""Convolution and dense layers as tensor expressions over packed weights, channels last.

Weights are constants, so they are packed once, when the model is lowered: output channels in blocks
of ``LANES``, with the values of a block contiguous for every ``(kh, kw, ic)``. A register tile
consists of whole blocks, so a kernel reads its weights as one stream of whole vector registers for
any tile that the tuner selects. (oneDNN and MLAS use this layout in their blocked kernels.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

LANES = 8
"""Floats in a block of output channels: an AVX2 register, two NEON registers."""

PACKED, DEPTHWISE, PAD = "packed_sum", "depthwise_sum", "padded"
"""Block names; the schedule templates recognise these kernels by them."""

FUSABLE = {"op_pattern": 4}
"""Relax's OutEWiseFusable: elementwise operators that follow are fused into the kernel."""


def pack(weight: np.ndarray) -> np.ndarray:
    """Packs ``[OC, IC, KH, KW]`` as ``[ceil(OC/8), KH, KW, IC, 8]``, padded with zeros."""
    channels = weight.shape[0]
    blocks = -(-channels // LANES)
    padded = np.zeros((blocks * LANES, *weight.shape[1:]), weight.dtype)
    padded[:channels] = weight
    return np.ascontiguousarray(
        padded.reshape(blocks, LANES, *weight.shape[1:]).transpose(0, 3, 4, 2, 1)
    )


def _pad(x: te.Tensor, pads: Sequence[int]) -> te.Tensor:
    top, left, bottom, right = pads
    if not any(pads):
        return x
    n, height, width, channels = x.shape
    zero = tirx.const(0, x.dtype)
    return te.compute(
        (n, height + top + bottom, width + left + right, channels),
        lambda b, i, j, c: tirx.if_then_else(
            tirx.all(i >= top, i < height + top, j >= left, j < width + left),
            x[b, i - top, j - left, c],
            zero,
        ),
        name=PAD,
    )


def _extent(size: Any, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    return (int(size) + before + after - dilation * (kernel - 1) - 1) // stride + 1


def conv2d(
    x: te.Tensor,
    weight: te.Tensor,
    channels: int,
    strides: Sequence[int],
    pads: Sequence[int],
    dilation: Sequence[int],
) -> te.Tensor:
    """2-D convolution: x ``[N, H, W, IC]``, weight packed by `pack`, out ``[N, OH, OW, OC]``."""
    n, height, width, inner = x.shape
    blocks, kh, kw = (int(v) for v in weight.shape[:3])
    out_h = _extent(height, kh, strides[0], pads[0], pads[2], dilation[0])
    out_w = _extent(width, kw, strides[1], pads[1], pads[3], dilation[1])
    padded = _pad(x, pads)
    i, j = te.reduce_axis((0, kh), "kh"), te.reduce_axis((0, kw), "kw")
    k = te.reduce_axis((0, inner), "ic")
    out = te.compute(
        (n, out_h, out_w, blocks * LANES),
        lambda b, h, w, c: te.sum(
            padded[b, h * strides[0] + i * dilation[0], w * strides[1] + j * dilation[1], k]
            * weight[c // LANES, i, j, k, c % LANES],
            axis=[i, j, k],
        ),
        name=PACKED,
    )
    if blocks * LANES == channels:
        return out
    return te.compute((n, out_h, out_w, channels), lambda b, h, w, c: out[b, h, w, c], name="crop")


def depthwise(
    x: te.Tensor,
    weight: te.Tensor,
    strides: Sequence[int],
    pads: Sequence[int],
    dilation: Sequence[int],
) -> te.Tensor:
    """Depthwise convolution: x ``[N, H, W, C]``, weight ``[KH, KW, C]``, out ``[N, OH, OW, C]``."""
    n, height, width, channels = x.shape
    kh, kw = (int(v) for v in weight.shape[:2])
    out_h = _extent(height, kh, strides[0], pads[0], pads[2], dilation[0])
    out_w = _extent(width, kw, strides[1], pads[1], pads[3], dilation[1])
    padded = _pad(x, pads)
    i, j = te.reduce_axis((0, kh), "kh"), te.reduce_axis((0, kw), "kw")
    return te.compute(
        (n, out_h, out_w, channels),
        lambda b, h, w, c: te.sum(
            padded[b, h * strides[0] + i * dilation[0], w * strides[1] + j * dilation[1], c]
            * weight[i, j, c],
            axis=[i, j],
        ),
        name=DEPTHWISE,
    )


def dense(x: te.Tensor, weight: te.Tensor, channels: int) -> te.Tensor:
    """Matrix product with constant weights: x ``[..., K]``, packed weight, out ``[..., OC]``."""
    *rows, inner = x.shape
    blocks = int(weight.shape[0])
    k = te.reduce_axis((0, inner), "ic")
    out = te.compute(
        (*rows, blocks * LANES),
        lambda *at: te.sum(
            x[(*at[:-1], k)] * weight[at[-1] // LANES, 0, 0, k, at[-1] % LANES], axis=[k]
        ),
        name=PACKED,
    )
    if blocks * LANES == channels:
        return out
    return te.compute((*rows, channels), lambda *at: out[at], name="crop")
