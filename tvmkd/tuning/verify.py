"""Does a kernel compute what it should? Against plain loops that compute the same, on the board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tvmkd.base.tolerance import TOLERANCE, error_of_range
from tvmkd.runtime.tvm_process import new_tensor


def fault(
    tvm: Any, device: Any, kernel: Any, plain: Any, args: Sequence[tuple[str, Sequence[int]]]
) -> str | None:
    """What is wrong with ``kernel``, in words; None where it agrees with ``plain``.

    Both run once on the same seeded inputs. They take the same arguments, outputs last; only the
    last is compared.

    Args:
        kernel, plain: modules with a function ``main``, loaded where ``device`` is.
        args: dtype and shape of each argument.
    """
    rng = np.random.default_rng(0)
    inputs = [new_tensor(tvm, _random(rng, *arg), device) for arg in args[:-1]]
    dtype, shape = args[-1]
    outputs = []
    for module in (plain, kernel):
        # Not a number where nothing is written: what a kernel leaves out shows.
        blank = np.full(shape, np.nan if "float" in dtype else 0).astype(dtype)
        output = new_tensor(tvm, blank, device)
        module["main"](*inputs, output)
        outputs.append(output.numpy())
    wanted, got = outputs
    error, allowed = error_of_range(got, wanted), TOLERANCE.get(dtype, 1e-3)
    if error <= allowed:
        return None
    return f"its output differs from plain loops' by {error:.2g} of the range (allowed {allowed})"


def _random(rng: np.random.Generator, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """Small and of both signs: sums then lie where activations do not cut all of them off."""
    if "float" in dtype:
        return rng.uniform(-0.5, 0.5, shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)
