"""Leaves out the taps of convolutions that only ever meet padding.

A tap of a dilated convolution may lie outside of a small image wherever the window is: with a
dilation of 24 on 14x14 pixels only the middle one of 3x3 reads anything (DeepLab's pyramid; Chen et
al., *Rethinking Atrous Convolution*, 2017, meet the same and call it a 1x1 filter).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvmkd.stacks.relax.convolution import plain_layout
from tvmkd.stacks.relax.expressions import constant, dataflow, operator, sizes
from tvmkd.stacks.relax.replaced import replaced

CONVOLUTIONS = {
    "relax.nn.conv1d": relax.op.nn.conv1d,
    "relax.nn.conv2d": relax.op.nn.conv2d,
    "relax.nn.conv3d": relax.op.nn.conv3d,
}


def useful_taps(mod: tvm.IRModule) -> tvm.IRModule:
    """``main`` with smaller windows where that computes the same; constant weights only."""
    bindings = dataflow(mod)
    if bindings is None:
        return mod
    found = {binding.var: _smaller(binding.value) for binding in bindings}
    return replaced(mod, {var: value for var, value in found.items() if value is not None})


def _smaller(call: Any) -> relax.Expr | None:
    """The convolution with the taps left out that read nothing but padding, or None."""
    make = CONVOLUTIONS.get(operator(call) or "")
    if make is None or not plain_layout(call):
        return None
    weight, shape, out = constant(call.args[1]), sizes(call.args[0]), sizes(call)
    if weight is None or shape is None or out is None:
        return None
    attrs, rank, taps = call.attrs, len(out) - 2, weight.shape[2:]
    strides, pads, dilation = (
        [int(value) for value in each] for each in (attrs.strides, attrs.padding, attrs.dilation)
    )
    axes = zip(shape[2:], out[2:], taps, strides, pads[:rank], dilation, strict=True)
    kept = [_range(*axis) for axis in axes]
    window = tuple(slice(start, stop) for start, stop in kept)
    less = [start * step for (start, _), step in zip(kept, dilation, strict=True)]
    less += [
        (count - stop) * step for count, (_, stop), step in zip(taps, kept, dilation, strict=True)
    ]
    padding = [pad - each for pad, each in zip(pads, less, strict=True)]
    if not any(less) or min(padding) < 0:
        return None
    return make(
        call.args[0],
        relax.const(np.ascontiguousarray(weight[(slice(None), slice(None), *window)])),
        strides=strides,
        padding=padding,
        dilation=dilation,
        groups=int(attrs.groups),
        data_layout=str(attrs.data_layout),
        kernel_layout=str(attrs.kernel_layout),
        out_dtype=str(call.ty.dtype).removeprefix("T."),
    )


def _range(size: int, out: int, taps: int, stride: int, pad: int, step: int) -> tuple[int, int]:
    """The taps from the first to behind the last that read one of ``size`` values of an axis."""
    places = np.arange(out) * stride - pad
    reads = [
        bool(((places >= -tap * step) & (places < size - tap * step)).any()) for tap in range(taps)
    ]
    if not any(reads):
        return 0, taps
    return reads.index(True), taps - reads[::-1].index(True)
