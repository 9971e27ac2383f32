"""ONNX Runtime's own operators on integers: bit for bit what they give."""

from __future__ import annotations

import numpy as np
import pytest
from lowered import check, integers, numbers, one, same
from onnx import helper

ONE = {"domain": "com.microsoft"}
F = np.float32


def tensor(data: np.ndarray, scale: float = 0.02, zero: int = 3) -> list[np.ndarray]:
    return [data, *unit(scale, zero, data.dtype.type)]


def unit(scale: float = 0.02, zero: int = 3, kind: type = np.uint8) -> list[np.ndarray]:
    return [np.array(scale, F), np.array(zero, kind)]


@pytest.mark.parametrize(
    ("operator", "values", "options"),
    [
        ("QLinearAdd", [*tensor(integers(2, 3)), *tensor(integers(3, seed=1)), *unit(0.05, 9)], {}),
        ("QLinearMul", [*tensor(integers(2, 3)), *tensor(integers(3, seed=1)), *unit(0.1, 9)], {}),
        (
            "QLinearLeakyRelu",
            [*tensor(integers(2, 9, kind=np.int8)), *unit(kind=np.int8)],
            {"alpha": 0.1},
        ),
        ("QLinearSigmoid", [*tensor(integers(2, 9)), *unit(1 / 256, 0)], {}),
        (
            "QLinearAveragePool",
            [*tensor(integers(1, 2, 6, 6)), *unit()],
            {"kernel_shape": [2, 2], "strides": [2, 2]},
        ),
        (
            "QLinearGlobalAveragePool",
            [*tensor(integers(1, 2, 6, 6)), *unit()],
            {"channels_last": 0},
        ),
        (
            "QLinearGlobalAveragePool",
            [*tensor(integers(1, 6, 6, 2)), *unit()],
            {"channels_last": 1},
        ),
        (
            "QLinearConcat",
            [*unit(0.04, 1), *tensor(integers(2, 3)), *tensor(integers(2, 1, seed=2))],
            {"axis": 1, "fed": 0},
        ),
        (
            "QLinearSoftmax",
            [*tensor(integers(2, 3, 4)), *unit(1 / 256, 0)],
            {"axis": 1, "opset_": 12},
        ),
        (
            "QLinearSoftmax",
            [*tensor(integers(2, 3, 4)), *unit(1 / 256, 0)],
            {"axis": -1, "opset_": 13},
        ),
        (
            "QGemm",
            [
                *tensor(integers(2, 4)),
                *tensor(integers(3, 4, kind=np.int8, seed=1), 0.02, 0),
                np.arange(3, dtype=np.int32) * 9,
                *unit(0.2, 8),
            ],
            {"transB": 1},
        ),
        ("QGemm", [*tensor(integers(2, 4)), *tensor(integers(4, 3, seed=1)), None], {"alpha": 0.5}),
        (
            "DynamicQuantizeMatMul",
            [
                numbers(2, 5),
                integers(5, 3, kind=np.int8),
                np.array(0.02, F),
                np.array(0, np.int8),
                numbers(3),
            ],
            {},
        ),
        (
            "MatMulIntegerToFloat",
            [
                integers(2, 5),
                integers(5, 3, seed=1),
                np.array(0.02, F),
                np.array([0.1, 0.2, 0.3], F),
                np.array(3, np.uint8),
                np.array([1, 2, 3], np.uint8),
                numbers(3),
            ],
            {},
        ),
        (
            "QLinearWhere",
            [
                np.array([True, False, True]),
                *tensor(integers(3)),
                *tensor(integers(3, seed=1)),
                *unit(),
            ],
            {"fed": 2},
        ),
    ],
)
def test_each(operator, values, options):
    options = dict(options)
    if "opset_" in options:
        version = options.pop("opset_")
        model_options = {**ONE, **options}
        model, feeds = one(operator, values, **model_options)
        model.graph.node[0].attribute.append(helper.make_attribute("opset", version))
        same(model, feeds, 0, without=operator)
        return
    floats = {"DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QGemm"}
    check(operator, values, **ONE, **options, tolerance=1e-5 if operator in floats else 0)


@pytest.mark.parametrize(
    ("bits", "points", "level"), [(4, False, 0), (4, True, 0), (8, False, 0), (4, True, 4)]
)
def test_weights_of_few_bits(bits, points, level):
    inner, outer, block = 48 if level else 40, 3, 16
    count = -(-inner // block)
    packed = integers(outer, count, block * bits // 8)
    zeros = integers(outer * (-(-count * bits // 8)), seed=2) if points else None
    check(
        "MatMulNBits",
        [numbers(2, inner), packed, np.abs(numbers(outer * count, seed=1)), zeros],
        tolerance=1e-4,
        bits=bits,
        K=inner,
        N=outer,
        block_size=block,
        accuracy_level=level,
        **ONE,
    )
