"""3x3 convolution by Winograd's F(4x4, 3x3): 36 small matrix products, a quarter of the work.

A tile of 6 x 6 inputs gives 4 x 4 outputs with 36 multiplications a channel pair instead of 144.
The cost is two transformations and more memory traffic, so it is faster only with many channels and
enough tiles to reuse each transformed weight. (Lavin and Gray, *Fast Algorithms for
Convolutional Neural Networks*, 2016.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from tvmkd.stacks.relax.kernels import LANES, PACKED, PAD

TILE, PATCH = 4, 6
B_T = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
G = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
A_T = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])

ROWS_IN, INPUT = "winograd_rows_in", "winograd_input"
ROWS_OUT, OUTPUT = "winograd_rows_out", "winograd_output"
OPAQUE = {"op_pattern": 8}
"""Relax's kOpaque: the three steps are not fused, so that each is tuned by itself."""

LEAST_CHANNELS, LEAST_TILES = 32, 16


def pays(
    weight: Sequence[int],
    out: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> bool:
    """Whether Winograd's algorithm is expected to be faster for a convolution.

    Args:
        weight: ``[OC, IC, KH, KW]``.
        out: height and width of the output. The transformed weights are four times as large as the
            plain ones; with fewer than 16 tiles they are reused too little to be worth reading.
    """
    tiles = -(-out[0] // TILE) * -(-out[1] // TILE)
    return (
        groups == 1
        and list(weight[2:]) == [3, 3]
        and list(strides) == list(dilation) == [1, 1]
        and weight[0] % LANES == 0
        and min(weight[:2]) >= LEAST_CHANNELS
        and tiles >= LEAST_TILES
    )


def transform(weight: np.ndarray, lanes: int = LANES) -> np.ndarray:
    """``[OC, IC, 3, 3]`` to ``G g G^T`` packed as ``[36, OC/lanes, IC, lanes]``."""
    patches = np.einsum("ai,ocij,bj->aboc", G, weight.astype(np.float64), G)
    outer, inner = weight.shape[:2]
    packed = patches.reshape(PATCH * PATCH, outer // lanes, lanes, inner).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(packed, dtype=weight.dtype)


def _combine(row: np.ndarray, values: Sequence[Any]) -> Any:
    """The dot product of ``row`` and ``values``, without the terms that are zero."""
    total: Any = None
    for factor, value in zip(row, values, strict=True):
        if factor == 0:
            continue
        size = abs(float(factor))
        term = value if size == 1.0 else value * tirx.const(size, "float32")
        if total is None:
            total = term if factor > 0 else tirx.const(0.0, "float32") - term
        else:
            total = total + term if factor > 0 else total - term
    return total


def _choose(index: Any, values: Sequence[Any]) -> Any:
    """``values[index]`` as selects, which disappear when the loop over ``index`` is unrolled."""
    chosen = values[-1]
    for number in range(len(values) - 2, -1, -1):
        chosen = tirx.Select(index == number, values[number], chosen)
    return chosen


def input_transform(x: te.Tensor, pads: Sequence[int], out: Sequence[int]) -> te.Tensor:
    """x ``[N, H, W, C]`` to ``B^T d B`` of every tile: ``[36, N * tiles, C]``."""
    n, height, width, channels = (int(size) for size in x.shape)
    down, across = -(-out[0] // TILE), -(-out[1] // TILE)
    top, left = pads[0], pads[1]
    padded = te.compute(
        (n, down * TILE + 2, across * TILE + 2, channels),
        lambda b, i, j, c: tirx.if_then_else(
            tirx.all(i >= top, i < height + top, j >= left, j < width + left),
            x[b, i - top, j - left, c],
            tirx.const(0.0, "float32"),
        ),
        name=PAD,
    )

    def at(p: Any, i: Any, j: Any, c: Any) -> Any:
        tile = p % (down * across)
        return padded[p // (down * across), tile // across * TILE + i, tile % across * TILE + j, c]

    rows = te.compute(
        (PATCH, PATCH, n * down * across, channels),
        lambda a, j, p, c: _choose(
            a, [_combine(row, [at(p, i, j, c) for i in range(PATCH)]) for row in B_T]
        ),
        name=ROWS_IN,
    )
    return te.compute(
        (PATCH * PATCH, n * down * across, channels),
        lambda ab, p, c: _choose(
            ab % PATCH,
            [_combine(row, [rows[ab // PATCH, j, p, c] for j in range(PATCH)]) for row in B_T],
        ),
        name=INPUT,
    )


def product(v: te.Tensor, u: te.Tensor) -> te.Tensor:
    """The 36 products: ``[36, P, IC]`` with packed weights to ``[36, P, OC]``."""
    points, tiles, inner = v.shape
    lanes = int(u.shape[-1])
    k = te.reduce_axis((0, inner), "ic")
    return te.compute(
        (points, tiles, int(u.shape[1]) * lanes),
        lambda ab, p, c: te.sum(v[ab, p, k] * u[ab, c // lanes, k, c % lanes], axis=[k]),
        name=PACKED,
    )


def output_transform(m: te.Tensor, batch: int, out: Sequence[int]) -> te.Tensor:
    """``[36, P, OC]`` to ``A^T m A`` put together: ``[N, OH, OW, OC]``."""
    _, tiles, channels = m.shape
    across = -(-out[1] // TILE)
    per_image = int(tiles) // batch
    rows = te.compute(
        (TILE, PATCH, tiles, channels),
        lambda a, j, p, c: _choose(
            a, [_combine(row, [m[i * PATCH + j, p, c] for i in range(PATCH)]) for row in A_T]
        ),
        name=ROWS_OUT,
    )
    return te.compute(
        (batch, out[0], out[1], channels),
        lambda b, h, w, c: _choose(
            w % TILE,
            [
                _combine(
                    row,
                    [
                        rows[h % TILE, j, b * per_image + h // TILE * across + w // TILE, c]
                        for j in range(PATCH)
                    ],
                )
                for row in A_T
            ],
        ),
        name=OUTPUT,
    )
