"""Constants folded with numpy: the same values as TVM's, and only what is a constant."""

from __future__ import annotations

from typing import Any

from in_tvm import INSIDE, inside

if INSIDE:
    import numpy as np
    import tvm
    from relax_graphs import const, module, operators, run
    from tvm import relax

    from tvmkd.stacks.relax import folding


def normalised(x: Any) -> Any:
    """A batch normalisation as it is decomposed, and other operators that only move values."""
    emit = relax.BlockBuilder.current().emit
    deviation = emit(relax.op.sqrt(emit(relax.op.add(const(4), relax.const(1e-3)))))
    scale = emit(relax.op.divide(const(4), deviation))
    shift = emit(relax.op.negative(emit(relax.op.multiply(const(4), scale))))
    table = emit(relax.op.permute_dims(emit(relax.op.reshape(const(8), (2, 4))), [1, 0]))
    moved = emit(relax.op.subtract(table, const(4, 2)))
    scaled = emit(relax.op.multiply(x, emit(relax.op.expand_dims(scale, [1]))))
    shifted = emit(relax.op.add(scaled, emit(relax.op.expand_dims(shift, [1]))))
    return relax.op.add(shifted, moved)


@inside("relax")
def test_what_follows_from_constants_is_one_and_the_rest_stays() -> None:
    mod = module([(4, 2)], normalised)
    folded = folding.fold(mod)
    assert operators(folded) == ["multiply", "add", "add"]
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)
    whole = tvm.ir.transform.Sequential([relax.transform.FoldConstant()])(mod)
    assert operators(whole) == ["multiply", "add", "add"]
    np.testing.assert_array_equal(run(folded, [x])[0], run(whole, [x])[0])
    assert folding.fold(folded).same_as(folded)
    assert folding.left(mod)
    assert not folding.left(folded)


@inside("relax")
def test_a_batch_normalisation_by_itself_is_folded() -> None:
    def make(x: Any) -> Any:
        mean, variance = const(4, low=-1), const(4)
        both = relax.op.nn.batch_norm(x, const(4), const(4, low=2), mean, variance, axis=1)
        return relax.TupleGetItem(relax.BlockBuilder.current().emit(both), 0)

    mod = module([(1, 4, 2)], make)
    folded = folding.fold(relax.transform.DecomposeOpsForInference()(mod))
    assert not folding.left(folded)
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(1, 4, 2)
    scale, shift, mean, variance = (
        const(4, low=low).value.numpy()[:, None] for low in (0.5, 2, -1, 0.5)
    )
    wanted = (x - mean) / np.sqrt(variance + 1e-5) * scale + shift
    np.testing.assert_allclose(run(folded, [x])[0], wanted, rtol=1e-5)


@inside("relax")
def test_integers_are_not_divided_and_other_dtypes_and_operators_are_left() -> None:
    ints = relax.const(np.array([7, -7], "int32"))
    cases = {
        "divide": lambda x: relax.op.divide(ints, relax.const(np.array([2, 2], "int32"))),
        "add": lambda x: relax.op.add(*[relax.const(np.ones(2, "float16"))] * 2),
        "exp": lambda x: relax.op.exp(const(2)),
    }
    for name, make in cases.items():
        mod = module([(1,)], make)
        assert operators(folding.fold(mod)) == [name]
        assert folding.left(folding.fold(mod))


@inside("relax")
def test_a_result_that_is_a_constant_stays_a_result() -> None:
    mod = module([(1,)], lambda x: relax.op.multiply(const(3), const(3)))
    (found,) = run(folding.fold(mod), [np.zeros(1, np.float32)])
    np.testing.assert_array_equal(found, const(3).value.numpy() ** 2)
