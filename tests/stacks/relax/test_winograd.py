"""Winograd's convolution against the definition, and when it is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
from in_tvm import INSIDE, inside

if INSIDE:
    from relax_graphs import computed, convolved

    from tvmkd.stacks.relax import winograd

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@inside("relax")
def test_a_convolution_of_two_images() -> None:
    """Sizes that the tile of 4 divides and that it does not; pads that differ on each side."""
    for (height, width), pads in (
        ((8, 8), [1, 1, 1, 1]),
        ((7, 10), [0, 1, 2, 0]),
        ((9, 6), [2, 0, 1, 2]),
    ):
        x, weight = normal(2, height, width, 4), normal(16, 4, 3, 3)
        wanted = convolved(x, weight, pads=pads)
        out = wanted.shape[1:3]
        patches = computed(lambda a, p=pads, o=out: winograd.input_transform(a, p, o), x)
        lanes = 16 if height == 7 else 8
        products = computed(winograd.product, patches, winograd.transform(weight, lanes))
        assert products.shape == (36, 2 * -(-out[0] // 4) * -(-out[1] // 4), 16)
        found = computed(lambda a, o=out: winograd.output_transform(a, 2, o), products)
        np.testing.assert_allclose(found, wanted, atol=1e-3)


# What pays, and the one change that makes it not pay.
GOOD: dict[str, Any] = {
    "weight": [32, 32, 3, 3], "out": [13, 13], "strides": [1, 1], "dilation": [1, 1], "groups": 1,
}  # fmt: skip
CHANGES: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"groups": 2}, False),
    ({"weight": [32, 32, 3, 1]}, False),
    ({"weight": [32, 32, 1, 3]}, False),
    ({"weight": [32, 32, 5, 5]}, False),
    ({"strides": [2, 1]}, False),
    ({"strides": [1, 2]}, False),
    ({"dilation": [1, 2]}, False),
    ({"strides": [2, 2], "dilation": [2, 2]}, False),
    ({"weight": [36, 32, 3, 3]}, False),  # no whole blocks of 8 outputs
    ({"weight": [40, 32, 3, 3]}, True),
    ({"weight": [24, 32, 3, 3]}, False),
    ({"weight": [32, 31, 3, 3]}, False),
    ({"weight": [32, 33, 3, 3]}, True),
    ({"out": [12, 16]}, False),  # 3 x 4 tiles
    ({"out": [13, 16]}, True),  # 4 x 4
    ({"out": [16, 12]}, False),
    ({"out": [5, 29]}, True),  # 2 x 8
    ({"out": [4, 64]}, True),  # 1 x 16
    ({"out": [4, 60]}, False),
]


@inside("relax")
def test_where_it_pays() -> None:
    for change, pays in CHANGES:
        assert winograd.pays(**{**GOOD, **change}) is pays, change


@inside("relax")
def test_rows_are_combined_without_their_zeros() -> None:
    from tvm import te

    for row, wanted in (
        ([1, 0, 0], 2.0),
        ([-1, 0, 1], 3.0),
        ([0, -2, 4], 14.0),
        ([0, 0, -4], -20.0),
        ([2, -1, -1], -4.0),
    ):

        def combined(values: Any, row: list[int] = row) -> Any:
            return te.compute(
                (1,), lambda _: winograd._combine(np.array(row), [values[i] for i in range(3)])
            )

        assert computed(combined, np.array([2, 3, 5], np.float32)) == [wanted], row
