"""Does a kernel compute what it should? Against plain loops that compute the same, on the board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tvmkd.base import tolerance
from tvmkd.base.random_inputs import random_array
from tvmkd.runtime.tvm_process import new_tensor

# Small inputs of both signs give sums that activations such as ReLU6 do not all clip.
BOUND = 0.5


def fault(
    tvm: Any, device: Any, kernel: Any, plain: Any, args: Sequence[tuple[str, Sequence[int]]]
) -> str | None:
    """Says how ``kernel`` differs from ``plain``; None if they agree.

    Both run once on the same seeded inputs. They take the same arguments, outputs last; only the
    last is compared.

    Args:
        kernel, plain: modules with a function ``main``, loaded where ``device`` is.
        args: dtype and shape of each argument.
    """
    rng = np.random.default_rng(0)
    inputs = [new_tensor(tvm, random_array(rng, *arg, BOUND), device) for arg in args[:-1]]
    dtype, shape = args[-1]
    outputs = []
    for module in (plain, kernel):
        # Not a number where nothing is written: what a kernel leaves out shows.
        blank = np.full(shape, np.nan if "float" in dtype else 0).astype(dtype)
        output = new_tensor(tvm, blank, device)
        module["main"](*inputs, output)
        outputs.append(output.numpy())
    wanted, got = outputs
    error, allowed = tolerance.error_of_range(got, wanted), tolerance.compiled(dtype)
    if error <= allowed:
        return None
    return f"its output differs from plain loops' by {error:.2g} of the range (allowed {allowed})"
