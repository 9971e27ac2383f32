"""How far one array of numbers is from another, for the two places that look for wrong kernels."""

from __future__ import annotations

import numpy as np

TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2, "int8": 1e-1}
"""Largest error allowed, as a share of the reference's largest magnitude.

Tuned kernels add in another order than the reference does; in FP32 that moves the outputs of the
networks measured here by 1e-6 of their range, and a wrong kernel moves them by 1e-1 and more.
"""


def error_of_range(got: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference over the largest magnitude wanted.

    Infinite where one is finite and the other is not. Both arrays have the same shape.
    """
    if not np.array_equal(np.isfinite(got), np.isfinite(wanted)):
        return float("inf")
    finite = np.isfinite(wanted)
    if not finite.any():
        return 0.0
    got, wanted = got[finite].astype(np.float64), wanted[finite].astype(np.float64)
    scale = max(float(np.abs(wanted).max()), 1e-30)
    return float(np.abs(got - wanted).max()) / scale
