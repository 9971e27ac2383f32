"""Elementwise operators: edge cases and types as in ONNX Runtime."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from lowered import check, left, numbers, one, same
from onnx import TensorProto, numpy_helper

from tvmkd.export.rewrites import lower

EDGES = np.array([np.inf, -np.inf, np.nan, 0, 3], np.float32)


@pytest.mark.parametrize(("above", "below"), [(1, 0), (0, 1), (0, 0)])
def test_infinities_of_one_sign(above, below):
    check("IsInf", [EDGES], detect_positive=above, detect_negative=below)


@pytest.mark.parametrize("operator", ["Sinh", "Cosh"])
def test_hyperbolic_functions_are_finite_as_long_as_they_can_be(operator):
    check(operator, [np.array([0, -0.5, 1e-3, 3, -8, 20], np.float32)])
    check(operator, [np.array([89, -89, np.inf, np.nan], np.float32)])


def test_infinities_of_both_signs_stay():
    assert left(one("IsInf", [EDGES])[0]) == {}


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_shifts_by_the_width_and_more(kind, direction):
    data = np.array([-8, 4, -1, 7], np.int8).astype(kind)
    model, feeds = one(
        "BitShift", [data, np.array([8, 9, 127, 1], kind)], opset=18, direction=direction
    )
    result, reasons = lower(model, "a.onnx")
    assert reasons == {}
    wide = data.astype(np.int64)
    wanted = wide << [0, 0, 0, 1] if direction == "LEFT" else wide >> [8, 9, 63, 1]
    if direction == "LEFT":
        wanted[:3] = 0
    shift = next(node for node in result.graph.node if node.op_type == "BitShift")
    constants = {node.output[0]: node for node in result.graph.node if not node.input}
    near = numpy_helper.to_array(constants[shift.input[1]].attribute[0].t)
    np.testing.assert_array_equal(near, [0, 0, 0, 1])
    if kind == np.uint8:
        from rewriting import run

        np.testing.assert_array_equal(run(result, feeds)[0], wanted.astype(kind))


def test_remainders_with_the_divisors_sign():
    x = np.array([0.0, -0.0, -3, 3, -1, 5.5, -5.5, np.inf, 1, np.nan], np.float32)
    y = np.array([-2.0, 2, np.inf, np.inf, -np.inf, 2, 2, 2, 0, 2], np.float32)
    model, feeds = one("Mod", [x, y], opset=17)
    result, reasons = lower(model, "a.onnx")
    assert reasons == {}
    from rewriting import run

    (got,) = run(result, feeds)
    with np.errstate(invalid="ignore"):
        wanted = np.mod(x, y)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("base", "exponent"),
    [
        (numbers(2, 3), np.array(2, np.int64)),
        (numbers(2, 3), np.array([3.0], np.float32)),
        (numbers(2, 3), np.array([1, 2, 4], np.int32)),
        (np.abs(numbers(2, 3)), numbers(3)),
        (np.array([1, 2, -3], np.int64), np.array([2, 5, 3], np.int64)),
        (np.array([1, 2, 3], np.int32), np.array([0.5, 2.5, 1.0], np.float32)),
        (np.array([2], np.float32), np.array([[2.0]], np.float32)),
    ],
)
def test_powers_of_two_types(base, exponent):
    model, feeds = one("Pow", [base, exponent])
    same(model, feeds)


def test_small_powers_are_products():
    check("Pow", [numbers(2, 3), np.array(3, np.float32)])


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_one_hot(axis, kind):
    indices = np.array([[0, 2, -1], [1, 7, -9]], np.int64)
    values = np.array([2, 5], kind)
    check("OneHot", [indices, np.array(4, np.int64), values], axis=axis)


def test_one_hot_of_a_computed_depth_is_left():
    model, _ = one("OneHot", [np.array([1]), np.array(4), np.zeros(2, np.float32)], fed=2)
    assert left(model) == {"node": "OneHot has a depth that is not constant"}


@pytest.mark.parametrize("options", [{}, {"k": 1, "dtype": TensorProto.DOUBLE}, {"k": -1}])
def test_a_matrix_with_ones(options):
    check("EyeLike", [np.zeros((3, 4), np.int32)], **options)


def test_dropout_is_nothing_but_its_mask():
    check("Dropout", [numbers(2, 3)], outputs=2)
    check("Dropout", [numbers(2, 3), np.array(0.7, np.float32), np.array(False)], outputs=2)
    check("Dropout", [numbers(2, 3), np.array(0.0, np.float32), np.array(True)], outputs=2)
    model, _ = one("Dropout", [numbers(2, 3), np.array(0.7, np.float32), np.array(True)])
    assert left(model) == {"node": "Dropout has training_mode=1: its output is random"}


def test_constants_of_rare_types_are_converted_and_others_left():
    values = np.arange(-8, 8).astype(ml_dtypes.int4)
    model, _ = one("Cast", [values], opset=21, fed=0, to=TensorProto.FLOAT)
    (node,) = lower(model, "a.onnx")[0].graph.node
    np.testing.assert_array_equal(numpy_helper.to_array(node.attribute[0].t), np.arange(-8, 8))
    model, _ = one("Cast", [numbers(3)], opset=21, to=TensorProto.FLOAT8E5M2)
    (reason,) = left(model).values()
    assert reason == "Cast has the type float8e5m2, which TVM does not compute with"
    assert left(one("Cast", [numbers(3)], to=TensorProto.INT32)[0]) == {}
