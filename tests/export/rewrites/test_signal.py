"""Fourier transforms: a product with a constant matrix."""

from __future__ import annotations

import numpy as np
import pytest
from lowered import check, left, numbers, one
from rewriting import run

from tvmkd.export.rewrites import lower


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("inverse", [0, 1])
@pytest.mark.parametrize("length", [None, 4, 9])
def test_along_an_axis_padded_or_cut(parts, inverse, length):
    values = [numbers(2, 6, parts), None if length is None else np.array(length)]
    check("DFT", values, inverse=inverse, axis=1, tolerance=1e-4)


@pytest.mark.parametrize("opset", [17, 20])
def test_one_side_and_another_axis(opset):
    values = [numbers(4, 3, 5, 1), None]
    if opset == 20:
        check("DFT", [*values, np.array(0)], opset=20, onesided=1, tolerance=1e-4)
        return
    check("DFT", values, onesided=1, axis=2, tolerance=1e-4)


@pytest.mark.parametrize("length", [8, 7])
def test_back_to_a_real_signal(length):
    """ONNX defines it since opset 20 only."""
    signal = numbers(2, length)
    found = np.fft.rfft(signal, axis=1)
    parts = np.stack([found.real, found.imag], -1).astype(np.float32)
    values = [parts, np.array(length), np.array(1)]
    model, feeds = one("DFT", values, opset=20, inverse=1, onesided=1)
    result, reasons = lower(model, "a.onnx")
    assert reasons == {}
    np.testing.assert_allclose(run(result, feeds)[0][..., 0], signal, atol=1e-5)


def test_what_another_node_computes_is_left():
    model, _ = one("DFT", [numbers(2, 6, 1), np.array(6)], fed=2, axis=1)
    assert left(model) == {"node": "DFT has an axis or a length that is not constant"}


@pytest.mark.parametrize("window", [None, np.hanning(8).astype(np.float32)])
@pytest.mark.parametrize("onesided", [0, 1])
def test_frames(window, onesided):
    values = [numbers(2, 30, 1), np.array(5), window, np.array(8)]
    check("STFT", values, onesided=onesided, tolerance=1e-4)


def test_a_window_that_is_computed():
    model, feeds = one("STFT", [numbers(1, 20, 1), np.array(4), np.ones(8, np.float32)], fed=1)
    model.graph.initializer.pop()
    from lowered import same
    from onnx import helper

    model.graph.input.append(helper.make_tensor_value_info("x2", 1, [8]))
    feeds["x2"] = numbers(8, seed=3)
    same(model, feeds, 1e-4, without="STFT")
