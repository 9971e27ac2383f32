"""Convolution and dense layers as tensor expressions over packed weights, channels last.

Weights are constants, so they are packed once, when the model is lowered: output channels in blocks
of 8 or 16, with the values of a block contiguous for every ``(kh, kw, ic)``. A register tile
consists of whole blocks, so a kernel reads its weights as one stream of whole vector registers for
any tile that the tuner selects. (oneDNN and MLAS use this layout in their blocked kernels.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

LANES = 8
"""Floats in a block of output channels: an AVX2 register, two NEON registers."""
WIDE = 16
"""Floats in a block that fills an AVX-512 register."""

PACKED, DEPTHWISE, PAD = "packed_sum", "depthwise_sum", "padded"
"""Block names; the schedule templates recognise these kernels by them."""

FUSABLE = {"op_pattern": 4}
"""Relax's OutEWiseFusable: elementwise operators that follow are fused into the kernel."""


def lanes_for(channels: int, widest: int) -> int:
    """How many channels a block should have.

    Args:
        channels: of the output, or of one of its groups.
        widest: floats in a register of the target.

    Returns:
        `WIDE` where registers are that wide and at most a tenth of what is computed is filled in,
        otherwise `LANES`.
    """
    wide = -(-channels // WIDE) * WIDE
    return WIDE if widest >= WIDE and wide <= 1.1 * -(-channels // LANES) * LANES else LANES


def pack(weight: np.ndarray, lanes: int = LANES) -> np.ndarray:
    """Packs ``[OC, IC, *kernel]`` as ``[ceil(OC/lanes), *kernel, IC, lanes]``, zeros behind."""
    channels, inner, *kernel = weight.shape
    blocks = -(-channels // lanes)
    padded = np.zeros((blocks * lanes, inner, *kernel), weight.dtype)
    padded[:channels] = weight
    split = padded.reshape(blocks, lanes, inner, *kernel)
    taps = range(3, 3 + len(kernel))
    return np.ascontiguousarray(split.transpose(0, *taps, 2, 1))


def merged_groups(
    weight: np.ndarray, groups: int, lanes: int = LANES
) -> tuple[np.ndarray, int] | None:
    """A grouped convolution's weight ``[OC, IC/groups, *kernel]`` with whole blocks in each group.

    Neighbouring groups become one, with zeros where they do not read each other's channels. None:
    no number of groups gives whole blocks, and all of them would be too many.

    Returns:
        the weight, and the number of groups that is left.
    """
    per_group, inner, *kernel = weight.shape[0] // groups, *weight.shape[1:]
    joined = lanes // math.gcd(per_group, lanes)
    if groups % joined:
        if groups > lanes:
            return None
        joined = groups
    shape = (groups // joined, joined, per_group, joined, inner, *kernel)
    apart = weight.reshape(groups // joined, joined, per_group, inner, *kernel)
    wide = np.zeros(shape, weight.dtype)
    for one in range(joined):
        wide[:, one, :, one] = apart[:, one]
    return wide.reshape(weight.shape[0], joined * inner, *kernel), groups // joined


def phase_weights(weight: np.ndarray, strides: Sequence[int], groups: int) -> np.ndarray:
    """A transposed convolution's weight as that of a convolution with stride 1.

    Its outputs fall into one phase for each combination of strides; each phase is a convolution
    with every stride-th tap, in reverse. (Shi et al., *Is the deconvolution layer the same as a
    convolutional layer?*, 2016.)

    Args:
        weight: ``[IC, OC/groups, *kernel]``.

    Returns:
        ``[groups * phases * OC/groups, IC/groups, *taps]``.
    """
    inner, per_group, *kernel = weight.shape
    taps = [-(-size // stride) for size, stride in zip(kernel, strides, strict=True)]
    whole = [count * stride for count, stride in zip(taps, strides, strict=True)]
    padded = np.zeros((groups, inner // groups, per_group, *whole), weight.dtype)
    corner: Any = (..., *map(slice, kernel))
    padded[corner] = weight.reshape(groups, inner // groups, per_group, *kernel)
    # Each axis as [taps, phases], then [g, IC/g, OC/g, t.., p..] to [g, p.., OC/g, IC/g, t..].
    pairs = [size for pair in zip(taps, strides, strict=True) for size in pair]
    split = padded.reshape(*padded.shape[:3], *pairs)
    rank = len(kernel)
    t, p = [3 + 2 * i for i in range(rank)], [4 + 2 * i for i in range(rank)]
    moved = np.flip(split.transpose(0, *p, 2, 1, *t), tuple(range(-rank, 0)))
    phases = math.prod(strides)
    return np.ascontiguousarray(moved.reshape(groups * phases * per_group, inner // groups, *taps))


def whole(n: int) -> int:
    """How many pixels of a row a kernel computes for ``n``: one more if no divisor of ``n`` makes a
    good tile. What is computed too much is cut off.
    """
    return n + 1 if n > 7 and math.gcd(n, 2 * 3 * 5 * 7) == 1 else n


def _last(index: Any, size: Any, more: bool) -> Any:
    """An index that stays inside where ``more`` is computed than there is."""
    return tirx.min(index, size - 1) if more else index


def _pad(x: te.Tensor, pads: Sequence[int], repeat: int = 1) -> te.Tensor:
    """Zeros round the axes between the first and the last; each channel ``repeat`` times."""
    if not any(pads) and repeat == 1:
        return x
    n, *sizes, channels = x.shape
    before, after = pads[: len(sizes)], pads[len(sizes) :]
    zero = tirx.const(0, x.dtype)

    def value(b: Any, *at: Any) -> Any:
        *place, c = at
        inner = [i - first for i, first in zip(place, before, strict=True)]
        found = x[(b, *inner, c if repeat == 1 else c // repeat)]
        if not any(pads):
            return found
        bounds = [
            bound
            for i, first, last, size in zip(place, before, after, sizes, strict=True)
            for bound in [
                *([i >= first] if first or last else []),
                *([i < size + first] if first or last else []),
            ]
        ]
        return tirx.if_then_else(tirx.all(*bounds), found, zero)

    padded = [size + first + last for size, first, last in zip(sizes, before, after, strict=True)]
    return te.compute((n, *padded, channels * repeat), value, name=PAD)


def _extent(size: Any, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    return (int(size) + before + after - dilation * (kernel - 1) - 1) // stride + 1


class _Window:
    """The sizes of a convolution: its output's, and where it reads the padded input.

    Args:
        sizes, kernel: of the input and of the window, by spatial axis.
        strides, dilation: by spatial axis.
        pads: those in front of each axis, then those behind each.
    """

    def __init__(
        self,
        sizes: Sequence[Any],
        kernel: Sequence[int],
        strides: Sequence[int],
        pads: Sequence[int],
        dilation: Sequence[int],
    ) -> None:
        rank = len(sizes)
        self.out = [
            _extent(sizes[i], kernel[i], strides[i], pads[i], pads[rank + i], dilation[i])
            for i in range(rank)
        ]
        names = [f"k{'dhw'[3 - rank + i]}" for i in range(rank)]
        self.more = whole(self.out[-1]) != self.out[-1]
        self.computed = [*self.out[:-1], whole(self.out[-1])]
        self._ends = [int(size) + pads[i] + pads[rank + i] for i, size in enumerate(sizes)]
        self.taps = [te.reduce_axis((0, k), name) for k, name in zip(kernel, names, strict=True)]
        self._strides, self._dilation = strides, dilation

    def at(self, place: Sequence[Any]) -> list[Any]:
        """The input's place under the current tap of the window at ``place``."""
        found = [
            i * stride + tap * dilation
            for i, stride, tap, dilation in zip(
                place, self._strides, self.taps, self._dilation, strict=True
            )
        ]
        return [*found[:-1], _last(found[-1], self._ends[-1], self.more)]

    def cut(self, out: te.Tensor, channels: int) -> te.Tensor:
        """The output without what was computed too much."""
        n, *_, width = out.shape
        if not self.more and int(width) == channels:
            return out
        return te.compute((n, *self.out, channels), lambda *at: out[at], name="crop")


def convolution(
    x: te.Tensor,
    weight: te.Tensor,
    channels: int,
    strides: Sequence[int],
    pads: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> te.Tensor:
    """Convolution over one, two or three axes, channels last.

    Args:
        x: ``[N, *sizes, IC]``.
        weight: ``[OC/lanes, *kernel, IC/groups, lanes]``, see `pack`.
        channels: of the output, at most the weight's.
        pads: in front of each axis, then behind each.
        groups: each with a whole number of blocks of the weight.

    Returns:
        ``[N, *sizes, channels]``.
    """
    n, *sizes, _ = x.shape
    blocks, *kernel, inner, lanes = (int(v) for v in weight.shape)
    window = _Window(sizes, kernel, strides, pads, dilation)
    padded = _pad(x, pads)
    k = te.reduce_axis((0, inner), "ic")
    width = blocks * lanes

    def product(b: Any, *at: Any) -> Any:
        *place, c = at
        channel = k if groups == 1 else c // (width // groups) * inner + k
        factor = weight[(c // lanes, *window.taps, k, c % lanes)]
        return te.sum(padded[(b, *window.at(place), channel)] * factor, axis=[*window.taps, k])

    out = te.compute((n, *window.computed, width), product, name=PACKED)
    return window.cut(out, channels)


def depthwise(
    x: te.Tensor,
    weight: te.Tensor,
    strides: Sequence[int],
    pads: Sequence[int],
    dilation: Sequence[int],
) -> te.Tensor:
    """Depthwise convolution over one, two or three axes, channels last.

    Args:
        x: ``[N, *sizes, C]``.
        weight: ``[*kernel, C * multiplier]``; output channel ``c`` reads channel
            ``c // multiplier``.

    Returns:
        ``[N, *sizes, C * multiplier]``.
    """
    n, *sizes, inner = x.shape
    *kernel, channels = (int(v) for v in weight.shape)
    window = _Window(sizes, kernel, strides, pads, dilation)
    padded = _pad(x, pads, channels // int(inner))

    def product(b: Any, *at: Any) -> Any:
        *place, c = at
        return te.sum(
            padded[(b, *window.at(place), c)] * weight[(*window.taps, c)], axis=window.taps
        )

    out = te.compute((n, *window.computed, channels), product, name=DEPTHWISE)
    return window.cut(out, channels)


def phases_together(
    x: te.Tensor, channels: int, sizes: Sequence[int], strides: Sequence[int],
    pads: Sequence[int], groups: int,
) -> te.Tensor:  # fmt: skip
    """The last step of a transposed convolution: puts its phases side by side.

    Args:
        x: ``[N, *places, groups * phases * channels / groups]``, one phase for each combination of
            ``strides``.
        channels: of the output.
        sizes: of the output.
        pads: what is cut off in front of each axis.

    Returns:
        ``[N, *sizes, channels]``.
    """
    per_group, phases = channels // groups, math.prod(strides)

    def value(b: Any, *at: Any) -> Any:
        *place, c = at
        full = [i + pad for i, pad in zip(place, pads, strict=True)]
        first = [pad // stride for pad, stride in zip(pads, strides, strict=True)]
        phase: Any = 0
        for i, stride in zip(full, strides, strict=True):
            phase = phase * stride + i % stride
        source = [
            i // stride - start for i, stride, start in zip(full, strides, first, strict=True)
        ]
        return x[(b, *source, (c // per_group * phases + phase) * per_group + c % per_group)]

    return te.compute((x.shape[0], *sizes, channels), value, name="phases")


def pack_right(y: te.Tensor, lanes: int = LANES) -> te.Tensor:
    """Packs the right side of a matrix product: ``[B, K, N]`` to ``[B, ceil(N/lanes), K, lanes]``.

    Beyond the last column it repeats it: those sums are cut off.
    """
    batch, inner, columns = y.shape
    blocks = -(-int(columns) // lanes)
    more = int(columns) % lanes != 0
    return te.compute(
        (batch, blocks, inner, lanes),
        lambda b, o, k, lane: y[b, k, _last(o * lanes + lane, columns, more)],
        name="pack_right",
    )


def batch_matmul(x: te.Tensor, packed: te.Tensor, columns: int) -> te.Tensor:
    """Matrix products of a batch: ``[B, M, K]`` and `pack_right`'s result to ``[B, M, N]``."""
    batch, rows, inner = x.shape
    blocks, lanes = int(packed.shape[1]), int(packed.shape[-1])
    k = te.reduce_axis((0, inner), "ic")
    computed = whole(int(rows))

    def product(b: Any, i: Any, c: Any) -> Any:
        left = x[b, _last(i, rows, computed != rows), k]
        return te.sum(left * packed[b, c // lanes, k, c % lanes], axis=[k])

    out = te.compute((batch, computed, blocks * lanes), product, name=PACKED)
    if blocks * lanes == columns and computed == rows:
        return out
    return te.compute((batch, rows, columns), lambda *at: out[at], name="crop")


def dense(x: te.Tensor, weight: te.Tensor, channels: int) -> te.Tensor:
    """Matrix product with constant weights: x ``[..., K]``, packed weight, out ``[..., OC]``."""
    *rows, inner = (int(size) for size in x.shape)
    blocks, lanes = int(weight.shape[0]), int(weight.shape[-1])
    k = te.reduce_axis((0, inner), "ic")
    computed = [*rows[:-1], whole(rows[-1])] if rows else []

    def product(*at: Any) -> Any:
        *place, c = at
        if computed != rows:
            place[-1] = _last(place[-1], rows[-1], True)
        return te.sum(x[(*place, k)] * weight[c // lanes, 0, 0, k, c % lanes], axis=[k])

    out = te.compute((*computed, blocks * lanes), product, name=PACKED)
    if blocks * lanes == channels and computed == rows:
        return out
    return te.compute((*rows, channels), lambda *at: out[at], name="crop")
