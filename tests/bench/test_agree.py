from __future__ import annotations

import numpy as np
import pytest

from tvmkd.base.tolerance import ENGINE
from tvmkd.bench.agree import compare_outputs

WANT = [[np.array([[1.0, -4.0]], np.float32)], [np.array([[0.001, 0.002]], np.float32)]]


def _off(by: float) -> list[list[np.ndarray]]:
    return [[array + np.float32(by) for array in sample] for sample in WANT]


def test_equal_outputs_agree() -> None:
    found = compare_outputs(WANT, WANT, 1e-3)
    assert (found.max_abs_error, found.problem) == (0.0, None)


def test_error_is_measured_against_the_largest_magnitude_of_all_samples() -> None:
    found = compare_outputs(WANT, _off(0.002), 1e-3)
    assert found.problem is None
    assert found.max_abs_error == pytest.approx(0.002, rel=1e-3)
    assert found.relative_error == pytest.approx(0.0005, rel=1e-3)


def test_too_far_off_says_where_and_how_far() -> None:
    found = compare_outputs(WANT, _off(0.4), 1e-3)
    assert found.problem == (
        "output 0 of sample 0 is off by 0.4, 10.00% of its largest magnitude (0.10% is allowed)"
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_never_agree(bad: float) -> None:
    got = _off(0.0)
    got[1][0] = np.array([[bad, 0.0]], np.float32)
    found = compare_outputs(WANT, got, 1e9)
    assert found.problem == "output 0 of sample 1 holds NaN or infinity"


def test_shape_and_number_of_outputs_count() -> None:
    wrong = [[sample[0].reshape(2)] for sample in WANT]
    assert "shape (2,) instead of (1, 2)" in str(compare_outputs(WANT, wrong, 1.0).problem)
    more = [[*sample, *sample] for sample in WANT]
    assert compare_outputs(WANT, more, 1.0).problem == "2 outputs instead of 1"


def test_an_output_of_zeros_has_to_be_zeros() -> None:
    zeros = [[np.zeros(3, np.float32)]]
    assert compare_outputs(zeros, zeros, 1e-3).problem is None
    assert compare_outputs(zeros, [[np.full(3, 1e-9, np.float32)]], 1e-3).problem is not None


def test_whole_numbers_are_compared_as_such() -> None:
    big = [[np.array([2**53], np.int64)]]
    assert compare_outputs(big, big, 0.0).problem is None
    labels, other = [[np.array([3], np.int64)]], [[np.array([4], np.int64)]]
    assert compare_outputs(labels, other, 1e-3).problem is not None


@pytest.mark.parametrize("precision", ENGINE)
def test_half_the_tolerance_agrees_and_twice_does_not(precision: str) -> None:
    allowed = ENGINE[precision]
    assert compare_outputs(WANT, _off(4.0 * allowed / 2), allowed).problem is None
    assert compare_outputs(WANT, _off(4.0 * allowed * 2), allowed).problem is not None


def test_the_edge_of_the_tolerance_still_agrees() -> None:
    want, got = [[np.array([4.0, 1.0])]], [[np.array([4.0, 1.5])]]
    found = compare_outputs(want, got, 0.125)
    assert (found.max_abs_error, found.relative_error, found.problem) == (0.5, 0.125, None)
    assert compare_outputs(want, got, 0.1249).problem is not None


def test_the_worst_output_and_sample_are_named() -> None:
    want = [[np.array([1.0]), np.array([-10.0])], [np.array([1.0]), np.array([10.0])]]
    got = [[np.array([1.1]), np.array([-10.0])], [np.array([1.0]), np.array([15.0])]]
    found = compare_outputs(want, got, 0.01)
    assert found.max_abs_error == 5.0
    assert found.relative_error == 0.5
    assert str(found.problem).startswith("output 1 of sample 1 is off by 5, 50.00% of its largest")
    # Each output has a scale of its own: 0.5 is little beside 10 and much beside 1.
    got = [[np.array([1.5]), np.array([-10.5])], [np.array([1.0]), np.array([10.0])]]
    found = compare_outputs(want, got, 0.1)
    assert (found.max_abs_error, found.relative_error) == (0.5, 0.5)
    assert str(found.problem).startswith("output 0 of sample 0")


def test_a_smaller_error_after_a_larger_one_changes_nothing() -> None:
    want = [[np.array([1.0])], [np.array([1.0])]]
    found = compare_outputs(want, [[np.array([1.4])], [np.array([1.2])]], 0.1)
    assert found.relative_error == pytest.approx(0.4)
    assert str(found.problem).startswith("output 0 of sample 0")


def test_what_cannot_be_compared_is_infinitely_far_off() -> None:
    for got in ([[np.array([np.nan, 0.0])]], [[np.zeros((2, 1))]], [[np.zeros(2), np.zeros(2)]]):
        found = compare_outputs([[np.zeros(2)]], got, 1e9)
        assert (found.max_abs_error, found.relative_error) == (np.inf, np.inf)
        assert found.problem
    off_zero = compare_outputs([[np.zeros(2)]], [[np.full(2, 0.5)]], 1.0)
    assert (off_zero.max_abs_error, off_zero.relative_error) == (0.5, np.inf)


def test_an_empty_output_agrees_and_a_sample_too_few_is_an_error() -> None:
    empty = [[np.zeros((0, 4))]]
    assert compare_outputs(empty, empty, 0.0).problem is None
    with pytest.raises(ValueError, match="zip"):
        compare_outputs(WANT, WANT[:1], 1.0)
