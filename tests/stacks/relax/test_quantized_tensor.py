"""What a dequantised constant holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from in_tvm import INSIDE, inside

if INSIDE:
    from tvmkd.stacks.relax.quantized_tensor import Low


@inside("relax")
def test_a_constant_has_its_scale_along_its_axis() -> None:
    array = np.array([[1, 2, 3], [4, 5, 6]], np.int8)
    scale, zero = np.array([0.5, 2, 4], np.float32), np.array([0, 1, -1], np.int8)
    low = Low(None, "int8", scale, zero, 1, array)
    np.testing.assert_array_equal(low.floats(), [[0.5, 2, 16], [2, 8, 28]])
    one = Low(None, "int8", np.float32(2), np.int8(-128), None, array)
    np.testing.assert_array_equal(one.centred()[0], [129, 130, 131])


@inside("relax")
def test_tensors_are_alike_if_all_of_their_form_is() -> None:
    one = Low("a", "int8", np.float32(0.5), np.int8(3))
    assert one.same(replace(one, value="b"))
    assert not one.same(replace(one, dtype="uint8"))
    assert not one.same(replace(one, scale=np.float32(0.25)))
    assert not one.same(replace(one, zero=np.int8(2)))
    assert not one.same(replace(one, axis=0))
