"""What a dequantised constant holds, and which expressions limit a tensor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from in_tvm import INSIDE, inside

if INSIDE:
    from tvm import relax

    from tvmkd.stacks.relax.quantized_tensor import Low, bounds, number, variables


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


@inside("relax")
def test_the_bounds_of_operators() -> None:
    x = relax.Var("x", relax.TensorType([2], "float32"))
    op, const = relax.op, relax.const
    assert bounds(op.nn.relu(x)) == (0, np.inf)
    assert bounds(op.nn.relu6(x)) == (0, 6)
    assert bounds(op.clip(x, -1, 2.5)) == (-1, 2.5)
    assert bounds(op.maximum(x, const(0.5))) == (0.5, np.inf)
    assert bounds(op.minimum(x, const(0.5))) == (-np.inf, 0.5)
    assert bounds(op.minimum(x, x)) is None
    assert bounds(op.maximum(x, const(np.ones(2, np.float32)))) is None
    assert bounds(op.sigmoid(x)) is None
    assert bounds(x) is None
    assert number(const(np.ones((1, 1), np.float32))) == 1


@inside("relax")
def test_the_variables_of_an_expression_as_often_as_it_reads_them() -> None:
    x, y = (relax.Var(name, relax.TensorType([2], "float32")) for name in "xy")
    call = relax.op.concat([x, y, x], 0)
    found = variables(call)
    assert [var.same_as(x) for var in found] == [True, False, True]
    assert variables(relax.const(1.0)) == []
