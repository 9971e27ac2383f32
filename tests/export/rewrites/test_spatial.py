"""Operators on images and on windows of them."""

from __future__ import annotations

import numpy as np
import pytest
from lowered import check, left, numbers, one, same
from rewriting import run

from tvmkd.export.rewrites import lower


def test_blocks_of_channels_in_both_orders():
    data = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    model, _ = one("DepthToSpace", [data.reshape(1, 8, 2, 2)], blocksize=2, mode="CRD")
    (back,) = run(model, {"x0": data.reshape(1, 8, 2, 2)})
    turned, _ = one("SpaceToDepth", [back], opset=26, blocksize=2, mode="CRD")
    result, reasons = lower(turned, "a.onnx")
    assert reasons == {}
    result.opset_import[0].version = 20
    np.testing.assert_array_equal(run(result, {"x0": back})[0], data.reshape(1, 8, 2, 2))


@pytest.mark.parametrize(
    "options",
    [
        {"output_shape": [10, 8], "output_padding": [1, 1]},
        {"output_shape": [9, 9]},
        {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "SAME_LOWER"},
        {"auto_pad": "VALID"},
    ],
)
def test_transposed_convolutions_of_a_size(options):
    model, feeds = one(
        "ConvTranspose", [numbers(1, 2, 3, 3), numbers(2, 3, 3, 4)], strides=[3, 2], **options
    )
    result = same(model, feeds, 1e-5)
    names = {entry.name for entry in result.graph.node[-1].attribute}
    assert not names & {"auto_pad", "output_shape"}


@pytest.mark.parametrize(
    ("rows", "image", "block", "options"),
    [
        ((1, 10, 25), [10, 10], [2, 5], {"strides": [2, 2], "pads": [0, 2, 0, 1]}),
        ((2, 12, 16), [6, 6], [3, 2], {"dilations": [1, 2]}),
        ((1, 6, 7), [9], [3], {}),
    ],
)
def test_windows_are_summed(rows, image, block, options):
    if len(image) == 2 and "strides" in options:
        rows = (1, 10, 5 * 5)
    if "dilations" in options:
        rows = (2, 12, 4 * 4)
    values = [numbers(*rows), np.array(image), np.array(block)]
    check("Col2Im", values, opset=18, tolerance=1e-5, **options)


@pytest.mark.parametrize(
    ("groups", "apart", "mask", "bias"),
    [(1, 1, False, False), (2, 2, True, True), (1, 2, True, False)],
)
def test_convolutions_at_moved_places(groups, apart, mask, bias):
    data, weights = numbers(2, 4, 6, 5), numbers(4, 4 // groups, 3, 2, seed=1)
    high, wide = 3, 4
    offsets = numbers(2, apart * 12, high, wide, seed=2)
    values = [data, weights, offsets]
    values.append(numbers(4, seed=3) if bias else None)
    values.append(np.abs(numbers(2, apart * 6, high, wide, seed=4)) if mask else None)
    check(
        "DeformConv",
        values,
        opset=19,
        fed=3,
        group=groups,
        offset_group=apart,
        strides=[2, 1],
        pads=[1, 0, 1, 1],
        kernel_shape=[3, 2],
        dilations=[1, 2],
        tolerance=1e-4,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_shape": [2, 3], "strides": [2, 2], "pads": [1, 1, 0, 1]},
        {"kernel_shape": [2, 2], "storage_order": 1, "dilations": [2, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ],
)
def test_where_the_maxima_lie(options):
    result = same(*one("MaxPool", [numbers(2, 3, 6, 7)], outputs=2, **options))
    pools = [node for node in result.graph.node if node.op_type == "MaxPool"]
    assert [len(node.output) for node in pools] == [1]


def test_maxima_go_back():
    data = numbers(1, 2, 4, 4)
    model, feeds = one("MaxPool", [data], outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    pooled, places = run(model, feeds)
    check("MaxUnpool", [pooled, places], kernel_shape=[2, 2], strides=[2, 2], fed=2)
    odd, _ = one(
        "MaxUnpool",
        [pooled, places, np.array([1, 2, 5, 5])],
        kernel_shape=[2, 2],
        strides=[2, 2],
        fed=2,
    )
    assert left(odd) == {"node": "MaxUnpool has an output_shape of its own"}


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_determinants(size):
    check("Det", [numbers(3, size, size)], tolerance=1e-5)


def test_larger_determinants_are_left():
    (reason,) = left(one("Det", [numbers(5, 5)])[0]).values()
    assert reason == "Det has matrices of 5 rows, more than 4"
