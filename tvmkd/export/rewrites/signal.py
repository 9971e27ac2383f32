"""Fourier transforms of a fixed length: products with a constant matrix."""

from __future__ import annotations

import numpy as np

from tvmkd.export.rewrites.integers import given
from tvmkd.export.rewrites.plain import constant_like, cut, reshape
from tvmkd.export.site import Refused, Site


def _matrix(length: int, used: int, bins: int, inverse: bool, complex_: bool) -> np.ndarray:
    """What a signal is multiplied with: real and imaginary parts take turns, on both sides.

    [used (* 2), bins * 2]
    """
    sign = 1 if inverse else -1
    angle = sign * 2 * np.pi * np.outer(np.arange(used), np.arange(bins)) / length
    wave = np.exp(1j * angle) / (length if inverse else 1)
    # A real number gives (cos, sin); an imaginary one (-sin, cos).
    rows = [np.stack([wave.real, wave.imag], -1)]
    if complex_:
        rows.append(np.stack([-wave.imag, wave.real], -1))
    return np.stack(rows, 1).reshape(used * len(rows), bins * 2)


def _real_inverse(length: int, used: int) -> np.ndarray:
    """What a real signal's non-negative frequencies are multiplied with: [used * 2, length]."""
    angle = 2 * np.pi * np.outer(np.arange(used), np.arange(length)) / length
    # The frequencies that are left out mirror these, but for the first, and the middle one.
    count = np.full((used, 1), 2.0)
    count[0] = 1
    if length % 2 == 0 and used > length // 2:
        count[length // 2] = 1
    rows = np.stack([np.cos(angle) * count, -np.sin(angle) * count], 1) / length
    return rows.reshape(used * 2, length)


def fourier(site: Site) -> None:
    """``DFT`` along one axis.

    https://onnx.ai/onnx/operators/onnx__DFT.html

    Raises:
        Refused: its axis or length is computed.
    """
    shape = site.sizes()
    rank, complex_ = len(shape), shape[-1] == 2
    if site.scope.target >= 20:
        axes = site.value(2) if site.has(2) else np.array(-2)
    else:
        axes = np.array(site.attribute("axis", 1))
    lengths = site.value(1) if site.has(1) else np.array(0)
    if axes is None or lengths is None:
        raise Refused("has an axis or a length that is not constant")
    axis = int(axes.reshape(-1)[0]) % rank
    inverse, half = (bool(site.attribute(name, 0)) for name in ("inverse", "onesided"))
    whole = 2 * (shape[axis] - 1) if inverse and half else shape[axis]
    length = int(lengths.reshape(-1)[0]) or whole
    bins = length // 2 + 1 if half and not inverse else length
    used = min(length // 2 + 1 if inverse and half else length, shape[axis])
    data = given(site, 0)
    if used < shape[axis]:
        data = cut(site, data, axis, 0, used)
    # The axis goes before the last one, which is for real and imaginary parts.
    order = [at for at in range(rank - 1) if at != axis] + [axis, rank - 1]
    if order != list(range(rank)):
        data = site.add("Transpose", [data], perm=order)
    outer = [shape[at] for at in order[:-2]]
    flat = reshape(site, data, [*outer, used * shape[-1]])
    if inverse and half:
        values, last = _real_inverse(length, used), 1
    else:
        values, last = _matrix(length, used, bins, inverse, complex_), 2
    product = site.add("MatMul", [flat, constant_like(site, values, flat)])
    result = reshape(site, product, [*outer, bins, last])
    if order != list(range(rank)):
        result = site.add("Transpose", [result], perm=[order.index(at) for at in range(rank)])
    site.become("Identity", [result])


def short_time_fourier(site: Site) -> None:
    """``STFT``: the frames as rows, times one matrix.

    https://onnx.ai/onnx/operators/onnx__STFT.html

    Raises:
        Refused: the step or the length is computed, or the signal is complex.
    """
    shape = site.sizes()
    step, window = site.value(1), site.value(2)
    lengths = site.value(3) if site.has(3) else None
    if step is None or (site.has(3) and lengths is None):
        raise Refused("has a step or a length that is not constant")
    if len(shape) == 3 and shape[2] == 2:
        raise Refused("has a complex signal")
    if lengths is not None:
        length = int(lengths.reshape(-1)[0])
    elif site.has(2):
        length = site.sizes(2)[0]
    else:
        raise Refused("has neither a window nor a length")
    jump = int(step.reshape(-1)[0])
    count = (shape[1] - length) // jump + 1
    bins = length // 2 + 1 if site.attribute("onesided", 1) else length
    signal = reshape(site, given(site, 0), [shape[0], shape[1]])
    places = np.arange(count)[:, None] * jump + np.arange(length)
    frames = site.add("Gather", [signal, site.constant(places)], axis=1)
    matrix = _matrix(length, length, bins, inverse=False, complex_=False)
    if site.has(2) and window is None:
        frames = site.add("Mul", [frames, given(site, 2)])
    elif window is not None:
        matrix = matrix * window.astype(np.float64)[:, None]
    product = site.add("MatMul", [frames, constant_like(site, matrix, signal)])
    site.become("Reshape", [product, site.constant([shape[0], count, bins, 2])])
