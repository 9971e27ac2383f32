"""Normalisations: the same numbers in plain operators."""

from __future__ import annotations

import numpy as np
import pytest
from lowered import check, numbers, one

from tvmkd.export.rewrites import lower

MS = {"domain": "com.microsoft"}
X, G, B = numbers(2, 3, 4), numbers(4, seed=1), numbers(4, seed=2)


@pytest.mark.parametrize("opset", [15, 17])
def test_of_a_sum(opset):
    values = [X, numbers(2, 3, 4, seed=3), G, B, numbers(4, seed=4)]
    result = check("SkipLayerNormalization", values, **MS, opset=opset, tolerance=1e-5)
    kinds = {node.op_type for node in result.graph.node}
    assert ("LayerNormalization" in kinds) == (opset >= 17)
    check("SkipSimplifiedLayerNormalization", values[:3], **MS, opset=opset, tolerance=1e-5)


def test_the_mean_and_the_deviation_where_they_are_asked_for():
    check(
        "LayerNormalization", [X, numbers(3, 4), numbers(3, 4)], outputs=3, axis=1, tolerance=1e-5
    )


def test_by_the_root_mean_square_without_a_domain():
    check("SimplifiedLayerNormalization", [X, G], outputs=2, axis=-1, tolerance=1e-5)


@pytest.mark.parametrize("mask", [None, np.array([[1, 1, 0], [1, 0, 0]], np.int32)])
def test_of_embeddings(mask):
    ids = np.array([[1, 2, 0], [3, 3, 1]], np.int32)
    kinds = np.array([[0, 1, 1], [0, 0, 1]], np.int32)
    tables = [numbers(5, 4), numbers(6, 4, seed=1), numbers(2, 4, seed=2)]
    check(
        "EmbedLayerNormalization",
        [ids, kinds, *tables, G, B, mask],
        outputs=2,
        **MS,
        tolerance=1e-5,
    )


@pytest.mark.parametrize("order", [1, 2])
def test_by_a_norm_and_a_row_of_zeros(order):
    data = numbers(3, 4)
    data[1] = 0
    check("LpNormalization", [data], p=order, axis=-1)


def test_neighbours_of_an_even_number():
    # ONNX Runtime has odd ones only: the definition of ONNX, element by element.
    from rewriting import run

    data = np.abs(numbers(1, 6, 2, 2))
    model, _ = one("LRN", [data], size=4, alpha=0.3, beta=0.6, bias=1.5)
    result, reasons = lower(model, "a.onnx")
    assert reasons == {}
    wanted = np.empty_like(data)
    for channel in range(6):
        begin, end = max(0, channel - 1), min(5, channel + 2) + 1
        total = (data[:, begin:end] ** 2).sum(1)
        wanted[:, channel] = data[:, channel] / (1.5 + 0.3 / 4 * total) ** 0.6
    np.testing.assert_allclose(run(result, {"x0": data})[0], wanted, rtol=1e-5)


@pytest.mark.parametrize("opset", [18, 21])
def test_by_groups(opset):
    count = 2 if opset == 18 else 4
    data, scale, bias = numbers(2, 4, 3, 3), numbers(count, seed=1), numbers(count, seed=2)
    check("GroupNormalization", [data, scale, bias], num_groups=2, opset=opset, tolerance=1e-5)


@pytest.mark.parametrize("last", [0, 1])
def test_by_groups_with_channels_last(last):
    """ONNX Runtime has it on GPUs only."""
    from rewriting import run

    data, scale, bias = numbers(2, 4, 3, 3), numbers(4, seed=1), numbers(4, seed=2)
    plain, _ = one("GroupNormalization", [data, scale, bias], num_groups=2, opset=21, epsilon=1e-5)
    (normal,) = run(plain, {"x0": data})
    wanted = normal / (1 + np.exp(-normal))
    given = np.ascontiguousarray(data.transpose(0, 2, 3, 1)) if last else data
    model, _ = one(
        "GroupNorm", [given, scale, bias], groups=2, activation=1, channels_last=last, **MS
    )
    result, reasons = lower(model, "a.onnx")
    assert reasons == {}
    (got,) = run(result, {"x0": given})
    np.testing.assert_allclose(got, wanted.transpose(0, 2, 3, 1) if last else wanted, atol=1e-5)


def test_by_the_batch_itself_in_training():
    values = [numbers(3, 4, 2, 2), *(np.abs(numbers(4, seed=at)) for at in range(1, 5))]
    check("BatchNormalization", values, outputs=3, training_mode=1, momentum=0.7, tolerance=1e-5)


def test_by_the_root_mean_square_of_everything():
    check("RMSNormalization", [X, numbers(2, 3, 4, seed=1)], axis=0, opset=23, tolerance=1e-5)
    result, _ = lower(one("RMSNormalization", [X, G], opset=23)[0], "a.onnx")
    assert [node.op_type for node in result.graph.node] == ["RMSNormalization"]
