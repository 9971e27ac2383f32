"""Attention of every form that ONNX Runtime's optimiser writes."""

from __future__ import annotations

import numpy as np
import pytest
from lowered import check, left, numbers, one
from rewriting import run

from tvmkd.export.rewrites import lower

ONE = {"domain": "com.microsoft", "num_heads": 2}
BATCH, LENGTH, WIDTH = 2, 4, 6
X = numbers(BATCH, LENGTH, WIDTH)
W, B = numbers(WIDTH, 3 * WIDTH, seed=1), numbers(3 * WIDTH, seed=2)
INT = np.int32


@pytest.mark.parametrize(
    ("mask", "options"),
    [
        (None, {}),
        (None, {"unidirectional": 1, "scale": 0.3}),
        (np.array([3, 2], INT), {}),
        (np.array([3, 4, 1, 2], INT), {}),
        (np.array([[1, 1, 1, 0], [1, 0, 1, 1]], INT), {}),
        (np.tril(np.ones((BATCH, LENGTH, LENGTH), INT)), {"mask_filter_value": -50.0}),
    ],
)
def test_from_one_matrix(mask, options):
    check("Attention", [X, W, B, mask], **ONE, **options, tolerance=1e-5)


def test_with_a_past_a_bias_and_values_of_another_width():
    past = numbers(2, BATCH, 2, 3, 3, seed=4)
    check("Attention", [X, W, B, None, past], outputs=2, **ONE, tolerance=1e-5)
    bias = numbers(1, 2, LENGTH, LENGTH, seed=5)
    check("Attention", [X, W, B, None, None, bias], **ONE, tolerance=1e-5)
    wide = numbers(WIDTH, 2 * WIDTH + 4, seed=1)
    values = [X, wide, numbers(2 * WIDTH + 4)]
    check("Attention", values, **ONE, qkv_hidden_sizes=[6, 6, 4], tolerance=1e-5)


KEY, VALUE = numbers(BATCH, 5, WIDTH, seed=6), numbers(BATCH, 5, WIDTH, seed=7)


@pytest.mark.parametrize(
    "values",
    [
        [X, KEY, VALUE],
        [X, KEY, VALUE, B],
        [X, KEY, VALUE, None, np.array([[1, 1, 0, 1, 1], [1, 0, 1, 1, 1]], INT)],
        [X, KEY, VALUE, None, None, numbers(1, 2, LENGTH, 5, seed=8)],
    ],
)
def test_from_queries_keys_and_values(values):
    check("MultiHeadAttention", values, **ONE, tolerance=1e-5)


def test_packed_tensors_are_cut():
    """ONNX Runtime has these on GPUs only."""
    packed = numbers(BATCH, 5, 2, 3, 3)
    apart = [np.ascontiguousarray(packed[:, :, :, at]).reshape(BATCH, 5, WIDTH) for at in range(3)]
    (wanted,) = run(*one("MultiHeadAttention", apart, **ONE))
    for values in ([packed], [apart[0], np.ascontiguousarray(packed[:, :, :, 1:])]):
        model, feeds = one("MultiHeadAttention", values, **ONE)
        (got,) = run(lower(model, "a.onnx")[0], feeds)
        np.testing.assert_allclose(got, wanted, atol=1e-5)


Q, K, V = (numbers(2, 3, length, 4, seed=length) for length in (4, 5, 6))
V = np.ascontiguousarray(V[:, :, :5])
SEEN = numbers(2, 1, 4, 5) > 0
SEEN[..., 0] = True


@pytest.mark.parametrize(
    ("values", "options", "short"),
    [
        ([Q, K, V], {}, True),
        ([Q, K, V], {"is_causal": 1, "scale": 0.3}, True),
        ([X, KEY, VALUE], {"q_num_heads": 2, "kv_num_heads": 2}, True),
        ([Q, K, V], {"qk_matmul_output_mode": 0, "softcap": 0.0}, True),
        ([Q, K, V, numbers(4, 5)], {}, True),
        ([Q, K, V, SEEN], {"is_causal": 1}, True),
        ([Q, K, V], {"softcap": 2.0}, False),
        ([Q, np.ascontiguousarray(K[:, :1]), np.ascontiguousarray(V[:, :1])], {}, False),
    ],
)
def test_onnxs_own(values, options, short):
    result = check("Attention", values, opset=23, **options, tolerance=1e-5)
    products = [node.op_type for node in result.graph.node].count("MatMul")
    assert products == 2
    assert (len(result.graph.node) < 20) == short


def test_forms_that_are_not_known_are_left():
    (reason,) = left(one("Attention", [X, W, B], do_rotary=1, **ONE)[0]).values()
    assert reason == "Attention has do_rotary=1"
    model, _ = one("Attention", [X, W, B, np.zeros((9,), INT)], **ONE)
    assert list(left(model).values()) == [
        "Attention has a mask whose shape is neither [batch] nor [2 * batch]"
    ]
