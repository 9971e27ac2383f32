"""Winograd's convolution against the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    from relax_graphs import computed, convolved

    from tvmkd.stacks.relax import winograd

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("tile", [4, 2])
@inside("relax")
def test_a_convolution_of_two_images(tile: int) -> None:
    """Sizes that the tile divides and that it does not; pads that differ on each side."""
    for (height, width), pads in (
        ((8, 8), [1, 1, 1, 1]),
        ((7, 10), [0, 1, 2, 0]),
        ((9, 6), [2, 0, 1, 2]),
    ):
        x, weight = normal(2, height, width, 4), normal(16, 4, 3, 3)
        wanted = convolved(x, weight, pads=pads)
        out = wanted.shape[1:3]
        patches = computed(lambda a, p=pads, o=out: winograd.input_transform(a, p, o, tile), x)
        lanes = 16 if height == 7 else 8
        products = computed(winograd.product, patches, winograd.transform(weight, lanes, tile))
        count = -(-out[0] // tile) * -(-out[1] // tile)
        assert winograd.tiles(out, tile) == count
        assert products.shape == ((tile + 2) ** 2, 2 * count, 16)
        found = computed(lambda a, o=out: winograd.output_transform(a, 2, o, tile), products)
        np.testing.assert_allclose(found, wanted, atol=1e-3)


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
