"""ONNX Runtime's fused operators: the same numbers in plain ones."""

from __future__ import annotations

import numpy as np
import pytest
from lowered import check, numbers, one

from tvmkd.export.rewrites import lower

ONE = {"domain": "com.microsoft"}


@pytest.mark.parametrize(
    ("operator", "values", "options"),
    [
        ("Gelu", [numbers(2, 3)], {}),
        ("BiasGelu", [numbers(2, 3), numbers(3)], {}),
        ("FastGelu", [numbers(2, 3)], {}),
        ("FastGelu", [numbers(2, 3), numbers(3)], {}),
        ("QuickGelu", [numbers(2, 3)], {"alpha": 1.5}),
        ("FusedMatMul", [numbers(2, 5, 3), numbers(2, 4, 5)], {"transA": 1, "transB": 1}),
        ("FusedMatMul", [numbers(4, 5), numbers(5, 2)], {"alpha": 0.5}),
        (
            "FusedGemm",
            [numbers(4, 5), numbers(5, 2), numbers(2)],
            {"activation": "LeakyRelu", "activation_alpha": 0.2},
        ),
        (
            "FusedConv",
            [numbers(1, 2, 5, 5), numbers(3, 2, 3, 3), numbers(3)],
            {"activation": "Relu", "pads": [1, 1, 1, 1]},
        ),
        (
            "FusedConv",
            [numbers(1, 2, 5, 5), numbers(3, 2, 1, 1), numbers(3), numbers(1, 3, 5, 5)],
            {"activation": "Clip", "activation_params": [0.0, 0.5]},
        ),
        ("ExpandDims", [numbers(2, 3), np.array([1], np.int32)], {}),
    ],
)
def test_each(operator, values, options):
    check(operator, values, **ONE, **options)


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("places", [np.array([2]), np.array([[0, 1, 2], [3, 1, 0]])])
def test_rotation_by_position(rank, interleaved, places):
    data = numbers(2, 3, 8) if rank == 3 else numbers(2, 2, 3, 4)
    values = [data, places, numbers(9, 2, seed=1), numbers(9, 2, seed=2)]
    check("RotaryEmbedding", values, **ONE, interleaved=interleaved)


@pytest.mark.parametrize(
    ("operator", "values", "wanted"),
    [
        # ONNX Runtime has these on GPUs only.
        ("BiasSplitGelu", [numbers(1, 2, 8), numbers(8)], "Erf"),
        ("BiasAdd", [numbers(1, 2, 4), numbers(4), numbers(1, 2, 4)], "Add"),
        ("NhwcConv", [numbers(1, 5, 5, 2), numbers(3, 3, 3, 2), numbers(3)], "Conv"),
    ],
)
def test_those_of_gpus_become_plain_too(operator, values, wanted):
    model, _ = one(operator, values, **ONE)
    result, reasons = lower(model, "a.onnx")
    assert reasons == {}
    assert wanted in {node.op_type for node in result.graph.node}
    assert {node.domain for node in result.graph.node} == {""}


def test_a_convolution_with_channels_last_is_right():
    from rewriting import run

    data, weights = numbers(1, 5, 5, 2), numbers(3, 3, 3, 2, seed=1)
    result, _ = lower(one("NhwcConv", [data, weights], **ONE)[0], "a.onnx")
    plain, _ = one("Conv", [data.transpose(0, 3, 1, 2), weights.transpose(0, 3, 1, 2).copy()])
    (got,) = run(result, {"x0": data})
    (wanted,) = run(plain, {"x0": np.ascontiguousarray(data.transpose(0, 3, 1, 2))})
    np.testing.assert_allclose(got, wanted.transpose(0, 2, 3, 1), atol=1e-5)
