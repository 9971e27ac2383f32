"""Taps that only meet padding are left out, and the result stays the same."""

from __future__ import annotations

from typing import Any

import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import numpy as np
    from relax_graphs import const, module, run
    from tvm import relax

    from tvmkd.stacks.relax.taps import useful_taps

    op = relax.op.nn

# Input, weight, arguments, and the window that is left (None: all of it).
CASES: dict[str, tuple[Any, Any, dict[str, Any], Any]] = {
    "only the middle": ((1, 4, 14, 14), (8, 4, 3, 3), {"padding": 24, "dilation": 24}, (1, 1)),
    "every tap reads": ((1, 4, 14, 14), (8, 4, 3, 3), {"padding": 12, "dilation": 12}, None),
    "one axis": ((1, 4, 6, 20), (8, 4, 3, 3), {"padding": 8, "dilation": 8}, (1, 3)),
    "strided": ((1, 4, 9, 9), (8, 4, 3, 3), {"padding": 9, "dilation": 9, "strides": 2}, (1, 1)),
    "strided over the middle": (
        (1, 4, 2, 2), (8, 4, 3, 3), {"padding": 1, "strides": 2}, (2, 2),
    ),
    "more padding behind": (
        (1, 4, 5, 5), (8, 4, 2, 2), {"padding": (0, 0, 6, 6), "dilation": 6}, (1, 1),
    ),
    "more padding than any tap bridges": (
        (1, 4, 3, 3), (8, 4, 2, 2), {"padding": 5, "dilation": 1}, None,
    ),
    "depthwise": (
        (2, 8, 5, 5), (8, 1, 5, 5), {"padding": 12, "dilation": 6, "groups": 8}, (1, 1),
    ),
    "1-D": ((1, 4, 7), (8, 4, 3), {"padding": 7, "dilation": 7}, (1,)),
    "3-D": ((1, 4, 2, 9, 9), (8, 4, 3, 3, 3), {"padding": (2, 1, 1, 2, 1, 1),
                                                "dilation": (2, 1, 1)}, (1, 3, 3)),
}  # fmt: skip


@pytest.mark.parametrize("which", CASES)
@inside("relax")
def test_the_window_that_is_left_computes_the_same(which: str) -> None:
    shape, window, arguments, left = CASES[which]
    make = {3: op.conv1d, 4: op.conv2d, 5: op.conv3d}[len(shape)]
    mod = module([shape], lambda x: make(x, const(*window), **arguments))
    found = useful_taps(mod)
    binding, *_ = found["main"].body.blocks[0].bindings
    assert [int(size) for size in binding.value.args[1].ty.shape][2:] == list(left or window[2:])
    assert found.same_as(mod) == (left is None)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(run(found, [x])[0], run(mod, [x])[0], rtol=1e-4, atol=1e-5)


@inside("relax")
def test_a_computed_weight_is_left_alone() -> None:
    shapes = [(1, 4, 14, 14), (8, 4, 3, 3)]
    mod = module(shapes, lambda x, w: op.conv2d(x, w, padding=24, dilation=24))
    assert useful_taps(mod).same_as(mod)
