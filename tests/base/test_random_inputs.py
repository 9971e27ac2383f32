from __future__ import annotations

import numpy as np
import pytest

from tvmkd.base.random_inputs import random_array, random_sample


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_standard_normal(dtype: str) -> None:
    drawn = random_array(rng(), dtype, [64, 64])
    assert drawn.dtype == dtype
    assert drawn.shape == (64, 64)
    assert abs(float(drawn.mean(dtype=np.float64))) < 0.05
    assert float(drawn.std(dtype=np.float64)) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "bool"])
def test_integers_are_zero_or_one(dtype: str) -> None:
    drawn = random_array(rng(), dtype, [64])
    assert drawn.dtype == dtype
    assert set(drawn.astype(int)) == {0, 1}


def test_bounded_floats_have_both_signs_and_fill_their_range() -> None:
    drawn = random_array(rng(), "float32", [1000], bound=0.5)
    assert drawn.dtype == np.float32
    assert -0.5 <= drawn.min() < -0.45
    assert 0.45 < drawn.max() <= 0.5


def test_a_scalar_is_an_array_without_axes() -> None:
    assert random_array(rng(), "float32", []).shape == ()


def test_a_sample_has_each_input_and_repeats_with_the_seed() -> None:
    specs = [
        {"name": "x", "shape": [2, 3], "dtype": "float32"},
        {"name": "ids", "shape": [4], "dtype": "int64"},
    ]
    first, again, other = (random_sample(rng(seed), specs) for seed in (5, 5, 6))
    assert list(first) == ["x", "ids"]
    np.testing.assert_array_equal(first["x"], again["x"])
    assert not np.array_equal(first["x"], other["x"])
    # Earlier versions made their records and comparisons with these values.
    generator = np.random.default_rng(5)
    expected = generator.standard_normal([2, 3]).astype(np.float32)
    np.testing.assert_array_equal(first["x"], expected)
    np.testing.assert_array_equal(first["ids"], generator.integers(0, 2, [4]))
