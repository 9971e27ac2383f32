from __future__ import annotations

import numpy as np
import pytest

from tvmkd.base import tolerance
from tvmkd.base.tolerance import error_of_range


def test_values() -> None:
    # Tolerances decide which kernels are accepted: change one only with a measurement.
    assert tolerance.COMPILED == {
        "float64": 1e-5,
        "float32": 1e-3,
        "float16": 2e-2,
        "bfloat16": 5e-2,
        "qdq": 5e-2,
        "int8": 1e-1,
    }
    assert tolerance.ENGINE == {"fp32": 2e-3, "tf32": 1e-2, "fp16": 2e-2, "int8": 1.5e-1}
    assert (tolerance.EXPORT_RELATIVE, tolerance.EXPORT_ABSOLUTE) == (1e-3, 1e-4)


def test_every_precision_of_an_engine_has_a_tolerance() -> None:
    from tvmkd.tensorrt.options import PRECISIONS

    assert set(tolerance.ENGINE) == set(PRECISIONS)


def test_a_dtype_without_an_entry_has_that_of_fp32() -> None:
    assert tolerance.compiled("float16") == 2e-2
    assert tolerance.compiled("int64") == tolerance.compiled("float32") == 1e-3


def test_the_error_is_a_share_of_the_largest_magnitude_wanted() -> None:
    wanted = np.array([1.0, -4.0, 0.0])
    assert error_of_range(wanted + np.array([0, 0, 0.2]), wanted) == pytest.approx(0.05)
    assert error_of_range(wanted - np.array([0.4, 0, 0]), wanted) == pytest.approx(0.1)
    assert error_of_range(wanted, wanted) == 0.0


def test_differences_are_taken_in_double_precision() -> None:
    half = np.array([60000.0], np.float16)
    assert error_of_range(-half, half) == pytest.approx(2.0)
    assert error_of_range(np.array([250], np.uint8), np.array([5], np.uint8)) == pytest.approx(49.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_finite_in_one_array_only_is_an_infinite_error(bad: float) -> None:
    fine, spoilt = np.array([1.0, 2.0]), np.array([1.0, bad])
    assert error_of_range(spoilt, fine) == float("inf")
    assert error_of_range(fine, spoilt) == float("inf")
    assert error_of_range(spoilt + np.array([0.5, 0]), spoilt) == pytest.approx(0.5)
    assert error_of_range(spoilt[1:], spoilt[1:]) == 0.0


def test_an_output_of_zeros_has_to_be_zeros() -> None:
    zeros = np.zeros(3)
    assert error_of_range(zeros, zeros) == 0.0
    assert error_of_range(zeros + 1e-9, zeros) > 1.0
