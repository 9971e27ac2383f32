"""Does a kernel compute what it should? Against plain loops that compute the same, on the board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tvmkd.base import tolerance
from tvmkd.base.agreement import Output, judge
from tvmkd.base.random_inputs import random_array
from tvmkd.runtime.tvm_process import new_tensor

# Small inputs of both signs give sums that activations such as ReLU6 do not all clip.
BOUND = 0.5


def fault(
    tvm: Any, device: Any, kernel: Any, plain: Any, args: Sequence[tuple[str, Sequence[int]]]
) -> str | None:
    """Says how ``kernel`` differs from ``plain``; None if they agree.

    Both run once on the same seeded inputs. They take the same arguments, outputs last; only the
    last is compared, on this side of the connection.

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
    return difference(*outputs)


def difference(wanted: np.ndarray, got: np.ndarray) -> str | None:
    """Says how a kernel's output differs from plain loops'; None if they agree.

    Judged as a model's output is (`tvmkd.base.agreement`): each channel by its own spread, so that
    neither an offset nor a larger channel hides an error. Loops in another order differ in
    rounding only, so the bound of the dtype applies, and no noise loosens it. An 8-bit value may
    be rounded to the other side; all other integers are exact.
    """
    dtype = str(wanted.dtype)
    output = Output(
        "", [[wanted]], tolerance.compiled(dtype), steps=int(dtype in ("int8", "uint8"))
    )
    result = judge(output, [got])
    if result.agrees:
        return None
    if not np.isfinite(result.error):
        return "its output differs from plain loops' in where it is NaN or infinite"
    share = "of its values" if wanted.dtype.kind != "f" else "of its spread"
    text = f"its output differs from plain loops' by {result.error:.2g} {share}"
    return f"{text} ({result.allowed:.2g} is allowed there)"
