"""3x3 convolution by Winograd's F(4x4, 3x3) or F(2x2, 3x3): small matrix products, less work.

With tiles of 4 x 4 outputs, 36 products of a channel pair do the work of 144; with tiles of 2 x 2,
16 that of 36. The cost is two transformations and more memory traffic: the weights are four times
as large, or 1.8 times. When that pays is asked in `tvmkd.stacks.relax.winograd_cost`. (Lavin and
Gray, *Fast Algorithms for Convolutional Neural Networks*, 2016.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx

from tvmkd.stacks.relax.kernels import LANES, PACKED, PAD


@dataclass(frozen=True)
class Form:
    """The matrices of one tile size.

    Attributes:
        b_t: transforms a patch of inputs, ``[patch, patch]``.
        g: transforms the weights, ``[patch, 3]``.
        a_t: transforms products to a tile of outputs, ``[tile, patch]``.
    """

    b_t: np.ndarray
    g: np.ndarray
    a_t: np.ndarray

    @property
    def patch(self) -> int:
        """Rows, and columns, of the inputs of a tile."""
        return len(self.b_t)


TILE = 4
FORMS = {
    4: Form(
        b_t=np.array(
            [
                [4, 0, -5, 0, 1, 0],
                [0, -4, -4, 1, 1, 0],
                [0, 4, -4, -1, 1, 0],
                [0, -2, -1, 2, 1, 0],
                [0, 2, -1, -2, 1, 0],
                [0, 4, 0, -5, 0, 1],
            ]
        ),
        g=np.array(
            [
                [1 / 4, 0, 0],
                [-1 / 6, -1 / 6, -1 / 6],
                [-1 / 6, 1 / 6, -1 / 6],
                [1 / 24, 1 / 12, 1 / 6],
                [1 / 24, -1 / 12, 1 / 6],
                [0, 0, 1],
            ]
        ),
        a_t=np.array(
            [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
        ),
    ),
    2: Form(
        b_t=np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
        g=np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]),
        a_t=np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
    ),
}
"""By the rows, and columns, of a tile of outputs."""

ROWS_IN, INPUT = "winograd_rows_in", "winograd_input"
ROWS_OUT, OUTPUT = "winograd_rows_out", "winograd_output"
OPAQUE = {"op_pattern": 8}
"""Relax's kOpaque: the three steps are not fused, so that each is tuned by itself."""


def tiles(out: Sequence[int], tile: int) -> int:
    """Of an output of this height and width."""
    return -(-out[0] // tile) * -(-out[1] // tile)


def transform(weight: np.ndarray, lanes: int = LANES, tile: int = TILE) -> np.ndarray:
    """``[OC, IC, 3, 3]`` to ``G g G^T`` packed as ``[points, OC/lanes, IC, lanes]``."""
    g = FORMS[tile].g
    patches = np.einsum("ai,ocij,bj->aboc", g, weight.astype(np.float64), g)
    outer, inner = weight.shape[:2]
    packed = patches.reshape(len(g) ** 2, outer // lanes, lanes, inner).transpose(0, 1, 3, 2)
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


def input_transform(
    x: te.Tensor, pads: Sequence[int], out: Sequence[int], tile: int = TILE
) -> te.Tensor:
    """x ``[N, H, W, C]`` to ``B^T d B`` of every tile: ``[points, N * tiles, C]``."""
    form, n, (height, width, channels) = FORMS[tile], int(x.shape[0]), map(int, x.shape[1:])
    patch, down, across = form.patch, -(-out[0] // tile), -(-out[1] // tile)
    top, left = pads[0], pads[1]
    padded = te.compute(
        (n, down * tile + 2, across * tile + 2, channels),
        lambda b, i, j, c: tirx.if_then_else(
            tirx.all(i >= top, i < height + top, j >= left, j < width + left),
            x[b, i - top, j - left, c],
            tirx.const(0.0, "float32"),
        ),
        name=PAD,
    )

    def at(p: Any, i: Any, j: Any, c: Any) -> Any:
        place = p % (down * across)
        return padded[
            p // (down * across), place // across * tile + i, place % across * tile + j, c
        ]

    rows = te.compute(
        (patch, patch, n * down * across, channels),
        lambda a, j, p, c: _choose(
            a, [_combine(row, [at(p, i, j, c) for i in range(patch)]) for row in form.b_t]
        ),
        name=ROWS_IN,
    )
    return te.compute(
        (patch * patch, n * down * across, channels),
        lambda ab, p, c: _choose(
            ab % patch,
            [_combine(row, [rows[ab // patch, j, p, c] for j in range(patch)]) for row in form.b_t],
        ),
        name=INPUT,
    )


def product(v: te.Tensor, u: te.Tensor) -> te.Tensor:
    """The products: ``[points, P, IC]`` with packed weights to ``[points, P, OC]``."""
    points, count, inner = v.shape
    lanes = int(u.shape[-1])
    k = te.reduce_axis((0, inner), "ic")
    return te.compute(
        (points, count, int(u.shape[1]) * lanes),
        lambda ab, p, c: te.sum(v[ab, p, k] * u[ab, c // lanes, k, c % lanes], axis=[k]),
        name=PACKED,
    )


def output_transform(m: te.Tensor, batch: int, out: Sequence[int], tile: int = TILE) -> te.Tensor:
    """``[points, P, OC]`` to ``A^T m A`` put together: ``[N, OH, OW, OC]``."""
    form, (_, count, channels) = FORMS[tile], m.shape
    patch, across = form.patch, -(-out[1] // tile)
    per_image = int(count) // batch
    rows = te.compute(
        (tile, patch, count, channels),
        lambda a, j, p, c: _choose(
            a, [_combine(row, [m[i * patch + j, p, c] for i in range(patch)]) for row in form.a_t]
        ),
        name=ROWS_OUT,
    )
    return te.compute(
        (batch, out[0], out[1], channels),
        lambda b, h, w, c: _choose(
            w % tile,
            [
                _combine(
                    row,
                    [
                        rows[h % tile, j, b * per_image + h // tile * across + w // tile, c]
                        for j in range(patch)
                    ],
                )
                for row in form.a_t
            ],
        ),
        name=OUTPUT,
    )
