"""The largest numeric errors that tvmkd accepts, and how an error is measured."""

from __future__ import annotations

import numpy as np

COMPILED = {
    "float64": 1e-5,
    "float32": 1e-3,
    "float16": 2e-2,
    "bfloat16": 5e-2,
    "qdq": 5e-2,
    "int8": 1e-1,
}
"""For a compiled kernel or model, and for a conversion to FP16: by the output's dtype.

``qdq`` is for float outputs of a graph with QuantizeLinear: two compilers may round a value to
different sides, which moves it by one of 255 levels.

For a conversion a share of the reference's largest magnitude; for a kernel and for a model the
largest share of a signal's spread, see `tvmkd.base.agreement`. Tuned kernels add in another order
than the reference does; in FP32 that moves the outputs of the networks measured here by 1e-6 of
their range, and a wrong kernel moves them by 1e-1 and more.
"""

REGIONS = {
    "fp32": 0.0,
    "tf32": COMPILED["float16"],
    "fp16": COMPILED["float16"],
    "int8": COMPILED["qdq"],
}
"""For a library with regions that another engine runs in a precision: what is allowed at least.
TF32 rounds factors as FP16 does.
"""

ENGINE = {"fp32": 2e-3, "tf32": 1e-2, "fp16": 2e-2, "int8": 1.5e-1}
"""For an engine of a comparison: by its precision.

A share of the output's largest magnitude. TF32 rounds factors as FP16 does and adds up as FP32
does.
"""

EXPORT_RELATIVE, EXPORT_ABSOLUTE = 1e-3, 1e-4
"""For an exported ONNX file against PyTorch: a share of each value, plus a share of the output's
largest magnitude (which counts as at least 1).
"""


def compiled(dtype: str) -> float:
    """The entry of `COMPILED` for a dtype; FP32's for a dtype that has none."""
    return COMPILED.get(dtype, COMPILED["float32"])


def error_of_range(got: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference divided by the largest magnitude of ``wanted``.

    Infinite where one array is finite and the other is not. Both arrays have the same shape.
    """
    if not np.array_equal(np.isfinite(got), np.isfinite(wanted)):
        return float("inf")
    finite = np.isfinite(wanted)
    if not finite.any():
        return 0.0
    got, wanted = got[finite].astype(np.float64), wanted[finite].astype(np.float64)
    scale = max(float(np.abs(wanted).max()), 1e-30)
    return float(np.abs(got - wanted).max()) / scale
