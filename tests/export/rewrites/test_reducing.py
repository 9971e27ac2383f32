"""Reductions keep their type; products along an axis in logarithmically many steps."""

from __future__ import annotations

import numpy as np
import pytest
from lowered import check, left, numbers, one
from rewriting import run

from tvmkd.export.rewrites import lower


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("keep", [0, 1])
def test_means_of_integers(opset, keep):
    data = np.array([[1, 2, -4], [5, -8, -9]], np.int32)
    options = {"axes": [1]} if opset == 13 else {}
    values = [data] if opset == 13 else [data, np.array([-1])]
    result = check("ReduceMean", values, opset=opset, keepdims=keep, **options)
    assert "ReduceSum" in {node.op_type for node in result.graph.node}


def test_extremes_of_booleans_and_nothing_else():
    data = np.array([[True, False], [False, False]])
    for kind, function in (("Max", np.max), ("Min", np.min)):
        model, feeds = one(f"Reduce{kind}", [data, np.array([1])], opset=20)
        result, reasons = lower(model, "a.onnx")
        assert reasons == {}
        (got,) = run(result, feeds)
        np.testing.assert_array_equal(got, function(data, 1, keepdims=True))
    assert left(one("ReduceMax", [numbers(2, 3)])[0]) == {}


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_products_along_an_axis(exclusive, reverse):
    data = numbers(2, 7, 3)
    axis = np.array(1)
    model, feeds = one("CumProd", [data, axis], opset=26, exclusive=exclusive, reverse=reverse)
    result, reasons = lower(model, "a.onnx")
    assert reasons == {}
    result.opset_import[0].version = 20
    wanted = data[:, ::-1] if reverse else data
    wanted = np.cumprod(wanted, 1)
    if exclusive:
        wanted = np.concatenate([np.ones((2, 1, 3), np.float32), wanted[:, :-1]], 1)
    wanted = wanted[:, ::-1] if reverse else wanted
    np.testing.assert_allclose(run(result, feeds)[0], wanted, rtol=1e-5)
