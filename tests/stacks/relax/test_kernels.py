"""Packed convolutions and dense layers against their definition."""

from __future__ import annotations

from typing import Any

import numpy as np
from in_tvm import INSIDE, inside

if INSIDE:
    from relax_graphs import computed, convolved

    from tvmkd.stacks.relax import kernels

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-4)


# Strides, pads (top, left, bottom, right) and dilation: each axis differs from the other.
WAYS: list[tuple[Any, Any, Any]] = [
    ((1, 1), (0, 0, 0, 0), (1, 1)),
    ((1, 1), (1, 1, 1, 1), (1, 1)),
    ((2, 1), (0, 1, 2, 3), (1, 1)),
    ((1, 2), (3, 2, 1, 0), (1, 1)),
    ((1, 1), (0, 0, 0, 0), (1, 2)),
    ((1, 1), (0, 0, 0, 0), (2, 1)),
    ((2, 3), (1, 2, 0, 1), (2, 1)),
]


@inside("relax")
def test_a_convolution_of_two_images() -> None:
    x = normal(2, 7, 9, 3)
    for channels, size, lanes in (
        (8, (3, 2), 8),
        (11, (2, 3), 8),
        (1, (1, 1), 8),
        (18, (3, 3), 16),
    ):
        weight = normal(channels, 3, *size)
        for strides, pads, dilation in WAYS:
            found = computed(
                lambda a, w, c=channels, s=strides, p=pads, d=dilation: kernels.convolution(
                    a, w, c, s, p, d
                ),
                x,
                kernels.pack(weight, lanes),
            )
            close(found, convolved(x, weight, strides, pads, dilation))


@inside("relax")
def test_a_row_without_a_good_tile_gets_a_pixel_more() -> None:
    assert [kernels.whole(n) for n in (1, 7, 9, 10, 11, 13, 25, 49, 121, 197)] == [
        *(1, 7, 9, 10, 12, 14, 25, 49, 122, 198)
    ]
    x, weight = normal(1, 4, 15, 3), normal(8, 3, 3, 3)
    for strides, pads in (((1, 1), (0, 0, 0, 0)), ((1, 1), (1, 0, 1, 0)), ((1, 2), (0, 5, 0, 5))):
        found = computed(
            lambda a, w, s=strides, p=pads: kernels.convolution(a, w, 8, s, p, (1, 1)),
            x,
            kernels.pack(weight),
        )
        close(found, convolved(x, weight, strides, pads, (1, 1)))
    rows, matrix = normal(2, 13, 5), normal(16, 5)
    found = computed(
        lambda a, w: kernels.dense(a, w, 16), rows, kernels.pack(matrix[:, :, None, None])
    )
    close(found, rows @ matrix.T)


@inside("relax")
def test_a_depthwise_convolution_of_two_images() -> None:
    x, weight = normal(2, 7, 9, 5), normal(3, 2, 5)
    diagonal = np.einsum("ijc,cd->cdij", weight, np.eye(5))
    for strides, pads, dilation in WAYS:
        found = computed(
            lambda a, w, s=strides, p=pads, d=dilation: kernels.depthwise(a, w, s, p, d), x, weight
        )
        close(found, convolved(x, diagonal, strides, pads, dilation))


@inside("relax")
def test_a_dense_layer_over_any_number_of_rows() -> None:
    for rows, channels in (((3,), 8), ((2, 3), 20), ((1,), 5)):
        x, weight = normal(*rows, 7), normal(channels, 7)
        for lanes in (8, 16):
            packed = kernels.pack(weight[:, :, None, None], lanes)
            found = computed(lambda a, w, c=channels: kernels.dense(a, w, c), x, packed)
            close(found, x @ weight.T)


@inside("relax")
def test_weights_are_packed_in_blocks_of_output_channels_filled_with_zeros() -> None:
    weight = normal(11, 3, 2, 4)
    packed = kernels.pack(weight)
    assert packed.shape == (2, 2, 4, 3, 8)
    assert packed.flags.c_contiguous
    for channel in range(16):
        part = packed[channel // 8, ..., channel % 8]
        wanted = weight[channel].transpose(1, 2, 0) if channel < 11 else np.zeros((2, 4, 3))
        np.testing.assert_array_equal(part, wanted)
    assert kernels.pack(normal(8, 1, 1, 1)).shape == (1, 1, 1, 1, 8)


@inside("relax")
def test_blocks_fill_wide_registers_where_little_is_filled_in() -> None:
    found = {n: kernels.lanes_for(n, 16) for n in (1, 8, 16, 24, 30, 40, 64, 72, 88, 90, 1000)}
    assert [n for n, lanes in found.items() if lanes == 16] == [16, 30, 64, 88, 90, 1000]
    assert set(found.values()) == {8, 16}
    assert {kernels.lanes_for(16, widest) for widest in (4, 8)} == {8}


@inside("relax")
def test_the_right_side_of_a_product_in_blocks_of_both_widths() -> None:
    x, y = normal(2, 13, 5), normal(2, 5, 20)
    for lanes in (8, 16):
        packed = computed(lambda a, n=lanes: kernels.pack_right(a, n), y)
        assert packed.shape == (2, -(-20 // lanes), 5, lanes)
        close(computed(lambda a, b: kernels.batch_matmul(a, b, 20), x, packed), x @ y)


@inside("relax")
def test_without_padding_there_is_no_padding_block() -> None:
    from tvm import te

    x = te.placeholder((1, 4, 4, 8), name="x")
    assert kernels._pad(x, [0, 0, 0, 0]).same_as(x)
    for at in range(4):
        pads = [int(place == at) for place in range(4)]
        assert kernels._pad(x, pads).op.name == kernels.PAD
