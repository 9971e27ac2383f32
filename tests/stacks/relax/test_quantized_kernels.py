"""Kernels of bytes against their definition."""

from __future__ import annotations

from typing import Any

import numpy as np
from in_tvm import INSIDE, inside

if INSIDE:
    from relax_graphs import computed, convolved

    from tvmkd.stacks.relax import quantized_kernels as kernels
    from tvmkd.stacks.relax.dot_products import AVX2_BYTES, AVX2_PAIRS, NEON_SMULL, PLAIN, VNNI_512

RNG = np.random.default_rng(0)
RANGE = {"uint8": (0, 256), "int8": (-128, 128)}


def some(dtype: str, *shape: int) -> np.ndarray:
    return RNG.integers(*RANGE[dtype], shape).astype(dtype)


def rounded(sums: np.ndarray, scale: np.ndarray, low: int, high: int) -> np.ndarray:
    return np.clip(np.rint(sums.astype(np.float32) * scale) + np.float32(3), low, high)


WAYS: list[tuple[Any, Any, Any]] = [
    ((1, 1), (1, 1, 1, 1), (1, 1)),
    ((2, 1), (0, 1, 2, 3), (1, 2)),
    ((1, 1), (0, 0, 0, 0), (1, 1)),
]


@inside("relax")
def test_a_convolution_pads_with_the_zero_point() -> None:
    dots = [(AVX2_BYTES, "uint8"), (AVX2_BYTES, "int8"), (AVX2_PAIRS, "int8"), (PLAIN, "uint8")]
    dots += [(NEON_SMULL, "uint8"), (VNNI_512, "uint8")]
    for number, (dot, dtype) in enumerate(dots):
        strides, pads, dilation = WAYS[number % len(WAYS)]
        x, zero = some(dtype, 2, 7, 6, 5), 9
        weight = RNG.integers(-64, 65, (11, 5, 3, 2))
        bias, scale = RNG.integers(-500, 500, 11), np.full(11, 2e-3, np.float32)
        sums = weight.sum((1, 2, 3)) * kernels.data_zero(dot, dtype, zero)
        fixed = [(bias - sums).astype(np.int32), scale]
        how = kernels.Rounded("uint8", 3, 5, 200)
        found = computed(
            lambda a, w, *after, d=dot, s=strides, p=pads, e=dilation, h=how: kernels.conv2d(
                a, w, *after, dot=d, channels=11, groups=1, zero=9, strides=s, pads=p,
                dilation=e, how=h,
            ),
            x, kernels.pack(weight.transpose(0, 2, 3, 1), dot),
            *(kernels.padded_channels(each, dot) for each in fixed),
        )  # fmt: skip
        wanted = convolved(x.astype(np.int64) - zero, weight, strides, pads, dilation) + bias
        np.testing.assert_array_equal(found, rounded(wanted, scale, 5, 200))


@inside("relax")
def test_a_grouped_convolution_reads_its_own_channels() -> None:
    x, weight = some("uint8", 1, 4, 4, 16), RNG.integers(-64, 65, (16, 1, 1, 8))
    fixed = [np.zeros(16, np.int32), np.ones(16, np.float32)]
    found = computed(
        lambda a, w, *after: kernels.conv2d(
            a, w, *after, dot=AVX2_BYTES, channels=16, groups=2, zero=0, strides=(1, 1),
            pads=(0, 0, 0, 0), dilation=(1, 1), how=kernels.Rounded(),
        ),
        x, kernels.pack(weight, AVX2_BYTES), *fixed,
    )  # fmt: skip
    halves = [x[..., :8] @ weight[:8, 0, 0].T, x[..., 8:] @ weight[8:, 0, 0].T]
    np.testing.assert_array_equal(found, np.concatenate(halves, -1))


@inside("relax")
def test_a_depthwise_convolution_of_bytes() -> None:
    for dtype in RANGE:
        x, weight = some(dtype, 1, 7, 9, 5), RNG.integers(-128, 128, (3, 2, 5))
        scale = RNG.random(5).astype(np.float32) * 0.01
        strides, pads, dilation = WAYS[1]
        found = computed(
            lambda a, w, *after, s=strides, p=pads, d=dilation: kernels.depthwise(
                a, w, *after, dot=PLAIN, zero=4, strides=s, pads=p, dilation=d,
                how=kernels.Rounded("int8", 3, -128, 127),
            ),
            x, weight.astype(np.int16), np.zeros(5, np.int32), scale,
        )  # fmt: skip
        diagonal = np.einsum("ijc,cd->cdij", weight, np.eye(5))
        wanted = convolved(x.astype(np.int64) - 4, diagonal, strides, pads, dilation)
        np.testing.assert_array_equal(found, rounded(wanted, scale, -128, 127))


@inside("relax")
def test_a_dense_layer_adds_a_float_to_what_it_scales() -> None:
    for dot in (AVX2_BYTES, PLAIN):
        x, weight = some("int8", 3, 7), RNG.integers(-64, 65, (10, 7))
        sums = weight.sum(1) * kernels.data_zero(dot, "int8", -2)
        fixed = [-sums.astype(np.int32), *(RNG.random(10).astype(np.float32) for _ in range(2))]
        found = computed(
            lambda a, w, *after, d=dot: kernels.dense(
                a, w, *after, dot=d, channels=10, zero=-2, how=kernels.Rounded()
            ),
            x, kernels.pack(weight[:, None, None], dot),
            *(kernels.padded_channels(each, dot) for each in fixed),
        )  # fmt: skip
        wanted = ((x.astype(np.int64) + 2) @ weight.T) * fixed[1] + fixed[2]
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


@inside("relax")
def test_packed_weights_are_in_the_order_of_the_instruction() -> None:
    weight = RNG.integers(-64, 65, (11, 2, 3, 5))
    for dot in (AVX2_BYTES, NEON_SMULL):
        packed = kernels.pack(weight, dot)
        assert packed.shape == (2, 2, 3, 2, *[2] * (dot.steps - 1), 8, dot.group)
        for channel in (0, 10):
            for at in (1, 2, 4):
                u, q = divmod(at % 4, dot.group)
                step = (u,) if dot.steps > 1 else ()
                place = (channel // 8, 1, 2, at // 4, *step, channel % 8, q)
                assert packed[place] == weight[channel, 1, 2, at]
        assert packed.sum() == weight.sum(), "the rest is 0"


@inside("relax")
def test_groups_are_merged_until_they_fill_registers() -> None:
    taps = RNG.integers(1, 9, (16, 1, 1, 3))
    wide, groups = kernels.merged(taps, 4, 8)
    assert (wide.shape, groups) == ((16, 1, 1, 6), 2)
    np.testing.assert_array_equal(wide[:4, ..., :3], taps[:4])
    np.testing.assert_array_equal(wide[4:8, ..., 3:], taps[4:8])
    assert not wide[:4, ..., 3:].any()
    for groups, lanes in ((1, 8), (2, 8), (8, 8), (4, 32)):  # full, or too much work
        same, count = kernels.merged(taps, groups, lanes)
        assert (same is taps, count) == (True, groups)


@inside("relax")
def test_a_cell_holds_the_taps_of_its_outputs() -> None:
    for taps, stride, columns, group, wanted in (
        (3, 1, 56, 4, (1, 2)),
        (3, 1, 7, 4, (1, 1)),
        (3, 2, 56, 4, (1, 1)),
        (5, 1, 28, 4, (2, 4)),
        (5, 2, 14, 4, (2, 2)),
        (7, 1, 14, 4, (2, 2)),
        (7, 1, 56, 2, (4, 2)),
    ):
        cell = kernels.Cell.of(taps, stride, columns, group)
        assert (cell.parts, cell.outputs) == wanted
        assert (cell.outputs - 1) * stride + taps <= cell.parts * group
        assert cell.pays(taps, stride) == ((taps, stride) != (3, 2))


@inside("relax")
def test_a_depthwise_convolution_by_an_instruction() -> None:
    ways = [
        (VNNI_512, (1, 1), (1, 1, 1, 1), 3),
        (VNNI_512, (2, 2), (2, 1, 2, 1), 5),
        (AVX2_PAIRS, (2, 1), (1, 1, 1, 2), 3),
        (AVX2_BYTES, (1, 1), (0, 0, 0, 0), 4),
    ]
    for number, (dot, strides, pads, taps) in enumerate(ways):
        dtype = ("uint8", "int8")[number % 2]
        x, zero = some(dtype, 2, 9, 8, 30), 9
        weight = RNG.integers(-64, 65, (30, 2, taps))
        columns = (8 + pads[1] + pads[3] - taps) // strides[1] + 1
        cell = kernels.Cell.of(taps, strides[1], columns, dot.group)
        scale = np.full(30, 2e-3, np.float32)
        bias = RNG.integers(-500, 500, 30)
        sums = weight.sum((1, 2)) * kernels.data_zero(dot, dtype, zero)
        fixed = [(bias - sums).astype(np.int32), scale]
        how = kernels.Rounded("uint8", 3, 5, 200, small=bool(number % 2))
        found = computed(
            lambda a, w, *after, d=dot, s=strides, p=pads, c=cell, h=how: kernels.depthwise_dot(
                a, w, *after, dot=d, cell=c, channels=30, zero=9, strides=s, pads=p,
                dilation=(1, 1), how=h,
            ),
            x, kernels.pack_depthwise(weight, dot, cell),
            *(kernels.padded_channels(each, dot) for each in fixed),
        )  # fmt: skip
        moved = np.zeros((30, 30, 2, taps), np.int64)
        moved[np.arange(30), np.arange(30)] = weight
        wanted = convolved(x.astype(np.int64) - zero, moved, strides, pads, (1, 1)) + bias
        np.testing.assert_array_equal(found, rounded(wanted, scale, 5, 200))


@inside("relax")
def test_each_channel_is_repeated() -> None:
    x = some("uint8", 1, 3, 4, 5)
    found = computed(lambda a: kernels.repeated(a, 2), x)
    np.testing.assert_array_equal(found, np.repeat(x, 2, -1))
