"""Which expressions limit a tensor, and what they read."""

from __future__ import annotations

import numpy as np
from in_tvm import INSIDE, inside

if INSIDE:
    from relax_graphs import module
    from tvm import relax

    from tvmkd.stacks.relax.expressions import bounds, dataflow, number, operator, variables


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


@inside("relax")
def test_the_bindings_of_one_dataflow_block() -> None:
    mod = module([(3,)], lambda x: relax.op.exp(relax.BlockBuilder.current().emit(relax.op.abs(x))))
    bindings = dataflow(mod)
    assert bindings is not None
    assert [operator(binding.value) for binding in bindings[:2]] == ["relax.abs", "relax.exp"]
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([3], "float32"))
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(relax.op.abs(x)))
    assert dataflow(builder.get()) is None
