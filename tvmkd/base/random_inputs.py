"""Seeded random inputs for a model or a kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def random_array(
    rng: np.random.Generator, dtype: str, shape: Sequence[int], bound: float | None = None
) -> np.ndarray:
    """One array: random floats, or 0 and 1 for integers and booleans.

    Integers stay that small because a model may use them as indices.

    Args:
        rng: numpy's generator; the same state gives the same array.
        dtype: numpy's name of it.
        bound: floats are uniform in ``[-bound, bound)``; None: standard normal.
    """
    kind = np.dtype(dtype)
    if kind.kind in "iub":
        return rng.integers(0, 2, shape).astype(kind)
    if bound is not None:
        return rng.uniform(-bound, bound, shape).astype(kind)
    return np.asarray(rng.standard_normal(shape), kind)


def random_sample(
    rng: np.random.Generator, inputs: Iterable[Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """One array for each input, by name.

    Args:
        rng: numpy's generator.
        inputs: ``{"name", "shape", "dtype"}`` of each, with fixed sizes.
    """
    return {spec["name"]: random_array(rng, spec["dtype"], spec["shape"]) for spec in inputs}
