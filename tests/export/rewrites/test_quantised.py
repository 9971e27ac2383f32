"""Quantised operators: bit for bit what ONNX Runtime gives.

Weights of int8 have seven bits here: without VNNI, ONNX Runtime saturates sums of two products.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from lowered import check, integers, left, numbers, one, same
from onnx import helper, numpy_helper
from rewriting import run

from tvmkd.export.rewrites import lower


def scales(count: int) -> np.ndarray:
    return np.linspace(0.01, 0.02, count).astype(np.float32)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("rows", [False, True])
def test_a_convolution_of_integers(kind, rows):
    count = 6 if rows else 1
    check(
        "QLinearConv",
        [
            integers(1, 4, 9, 9, kind=kind),
            np.array(0.03, np.float32),
            np.array(3, kind),
            integers(6, 2, 3, 3, kind=np.int8, seed=1) // 2,
            scales(6) if rows else np.array(0.02, np.float32),
            np.zeros(count, np.int8) if rows else np.array(0, np.int8),
            np.array(0.4, np.float32),
            np.array(7, kind),
            np.arange(6, dtype=np.int32) * 100,
        ],
        group=2,
        pads=[1, 1, 1, 1],
        strides=[2, 1],
        tolerance=0,
    )


@pytest.mark.parametrize("columns", [False, True])
def test_a_product_of_integers(columns):
    count = [4] if columns else []
    check(
        "QLinearMatMul",
        [
            integers(2, 3, 6),
            np.array(0.03, np.float32),
            np.array(100, np.uint8),
            integers(6, 4, kind=np.int8, seed=1) // 2,
            np.full(count, 0.02, np.float32),
            np.full(count, 3, np.int8),
            np.array(0.1, np.float32),
            np.array(128, np.uint8),
        ],
        tolerance=0,
    )


@pytest.mark.parametrize(("channels", "parts"), [(3, 1), (80, 3)])
def test_sums_that_float32_does_not_hold_are_cut(channels, parts):
    values = [integers(1, channels, 7, 7), np.full((2, channels, 3, 3), 255, np.uint8)]
    result = check("ConvInteger", [*values, np.array(1, np.uint8)], tolerance=0)
    assert [node.op_type for node in result.graph.node].count("Conv") == parts


@pytest.mark.parametrize(("inner", "kind"), [(8, "Cast"), (300, "MatMul")])
def test_a_matrix_product_in_float32_where_that_is_exact(inner, kind):
    values = [integers(2, inner), np.full((inner, 3), 255, np.uint8)]
    zeros = [np.array(2, np.uint8), np.array([0, 1, 2], np.uint8)]
    result = check("MatMulInteger", [*values, *zeros], tolerance=0)
    assert result.graph.node[-1].op_type == kind


@pytest.mark.parametrize("data", [numbers(3, 4), np.abs(numbers(5)), np.zeros(3, np.float32)])
def test_the_range_of_a_tensor(data):
    check("DynamicQuantizeLinear", [data], outputs=3, tolerance=0)


@pytest.mark.parametrize(
    ("values", "scale", "zero", "options"),
    [
        (integers(4, 6), numbers(2, 6), integers(2, 6, seed=1), {"axis": 0, "block_size": 2}),
        (np.arange(-8, 8).reshape(2, 8).astype(ml_dtypes.int4), numbers(2), None, {"axis": 0}),
    ],
)
def test_constant_weights_in_blocks_or_of_four_bits_become_floats(values, scale, zero, options):
    model, _ = one("DequantizeLinear", [values, scale, zero], opset=21, fed=0, **options)
    wanted = onnx.reference.ReferenceEvaluator(model).run(None, {})[0]
    result, reasons = lower(model, "a.onnx")
    assert reasons == {}
    (node,) = result.graph.node
    np.testing.assert_allclose(
        numpy_helper.to_array(node.attribute[0].t), wanted, rtol=1e-6, atol=1e-7
    )


def test_computed_integers_in_blocks_are_left():
    model, _ = one(
        "DequantizeLinear", [integers(4, 6), numbers(2, 6)], opset=21, axis=0, block_size=2
    )
    (reason,) = left(model).values()
    assert reason.startswith("DequantizeLinear has block_size=2")


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize("kind", [np.uint8, np.int16])
def test_onnx_runtimes_own_names_of_the_two_operators(kind, opset):
    zero, scale = np.array(3, kind), np.array(0.02, np.float32)
    options = {"domain": "com.microsoft", "opset": opset}
    model, feeds = one("DequantizeLinear", [integers(4, 5, kind=kind), scale, zero], **options)
    same(model, feeds)
    model, feeds = one("QuantizeLinear", [numbers(4, 5), scale, zero], **options)
    same(model, feeds, tolerance=0)


def test_types_without_arithmetic_are_refused():
    model, _ = one("QuantizeLinear", [numbers(2), np.array(0.1, np.float32)], opset=21)
    model.graph.node[0].attribute.append(helper.make_attribute("output_dtype", 22))
    assert left(model) == {"node": "QuantizeLinear gives the type int4"}


@pytest.mark.parametrize(("width", "options"), [(8, {"axis": 1}), (64, {"axis": 0, "block": 32})])
def test_what_is_multiplied_by_weights_of_four_bits_is_rounded_as_onnx_runtime_does(width, options):
    options = dict(options)
    block = options.pop("block", None)
    if block:
        options["block_size"] = block
    rng = np.random.default_rng(0)
    weights = rng.integers(-8, 8, (width, 4)).astype(ml_dtypes.int4)
    scale = np.abs(numbers(width // block, 4) if block else numbers(4)) + 0.1
    model, _ = one("DequantizeLinear", [weights, scale], opset=21, fed=0, **options)
    model.graph.node[0].output[0] = "w"
    model.graph.node.append(helper.make_node("MatMul", ["x", "w"], ["y0"]))
    model.graph.input.append(helper.make_tensor_value_info("x", 1, [3, width]))
    result, reasons = lower(model, "a.onnx")
    assert reasons == {}
    x = numbers(3, width, seed=2)
    optimised = onnxruntime.InferenceSession(model.SerializeToString())
    (wanted,), (got,) = optimised.run(None, {"x": x}), run(result, {"x": x})
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
