"""Resize of every mode: what ONNX Runtime gives, and one plain operator where TVM is exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from lowered import left, numbers, one, same
from rewriting import kinds

NONE = np.array([], np.float32)
MODES = ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric"]


def by_scales(*scales: float) -> list:
    return [NONE, np.array(scales, np.float32)]


def by_sizes(*sizes: int) -> list:
    return [NONE, None, np.array(sizes, np.int64)]


def resized(data, wanted, opset=19, **options):
    return same(*one("Resize", [data, *wanted], opset=opset, **options), tolerance=2e-6)


@pytest.mark.parametrize(
    ("mode", "rounding"),
    [*itertools.product(MODES, ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])],
)
def test_nearest(mode, rounding):
    for wanted in (by_scales(1, 1, 2, 1.5), by_scales(1, 1, 0.6, 0.5), by_sizes(1, 3, 4, 6)):
        result = resized(
            numbers(1, 2, 4, 6),
            wanted,
            coordinate_transformation_mode=mode,
            nearest_mode=rounding,
        )
        assert set(kinds(result)) <= {"Resize", "Gather", "Slice", "Identity"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_between_neighbours(kind, mode):
    for wanted in (by_scales(1, 1, 2, 2), by_scales(1, 1, 1.7, 0.45), by_sizes(1, 2, 3, 9)):
        resized(numbers(1, 2, 4, 6), wanted, mode=kind, coordinate_transformation_mode=mode)


@pytest.mark.parametrize(
    ("shape", "wanted", "options", "nodes"),
    [
        ((1, 2, 4, 6), by_scales(1, 1, 2, 2), {"mode": "nearest"}, ["Resize"]),
        ((1, 2, 4, 6), by_scales(1, 1, 2, 2), {"mode": "linear"}, ["Resize"]),
        ((1, 2, 4, 6), by_sizes(1, 2, 8, 5), {"mode": "linear"}, ["Resize"]),
        (
            (1, 2, 8, 8),
            by_sizes(1, 2, 4, 2),
            {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"},
            ["Slice"] * 2,
        ),
        ((1, 2, 8, 8), by_sizes(1, 2, 8, 8), {"mode": "cubic"}, []),
    ],
)
def test_forms_that_stay_fast(shape, wanted, options, nodes):
    result = resized(numbers(*shape), wanted, **options)
    assert [kind for kind in kinds(result) if kind != "Identity"] == nodes


@pytest.mark.parametrize(
    ("wanted", "options"),
    [
        (by_scales(1, 1, 0.4, 0.6), {"mode": "linear", "antialias": 1}),
        (by_sizes(1, 2, 3, 2), {"mode": "cubic", "antialias": 1, "cubic_coeff_a": -0.5}),
        (by_scales(1, 1, 0.8, 0.8), {"mode": "cubic", "exclude_outside": 1}),
        ([NONE, np.array([2, 0.5], np.float32)], {"mode": "linear", "axes": [-1, 2]}),
        (
            [NONE, None, np.array([7, 9])],
            {"mode": "nearest", "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"},
        ),
        (
            [NONE, None, np.array([7, 9])],
            {"mode": "linear", "axes": [3, 2], "keep_aspect_ratio_policy": "not_smaller"},
        ),
        (
            [np.array([0, 0, 0.4, 0.6, 1, 1, 0.8, 1.2], np.float32), None, np.array([1, 2, 3, 4])],
            {
                "mode": "linear",
                "coordinate_transformation_mode": "tf_crop_and_resize",
                "extrapolation_value": 5.0,
            },
        ),
    ],
)
def test_the_rest(wanted, options):
    resized(numbers(1, 2, 4, 6), wanted, **options)


def test_other_ranks_and_integers():
    resized(numbers(2, 3, 4), by_scales(1, 1, 2.5), mode="nearest")
    resized(numbers(1, 2, 3, 4, 5), by_scales(1, 1, 2, 1.5, 2), mode="linear")
    resized(numbers(4, 6), by_scales(2, 2), mode="linear")
    resized(np.arange(24).reshape(1, 2, 3, 4).astype(np.int32), by_scales(1, 1, 2, 1.5))


def test_integers_between_neighbours_are_left():
    data = np.arange(24).reshape(1, 2, 3, 4).astype(np.uint8)
    model, _ = one("Resize", [data, *by_scales(1, 1, 2, 2)], opset=19, mode="cubic")
    assert left(model) == {"node": "Resize interpolates integers (cubic)"}
