"""Chains of reshapes become one."""

from __future__ import annotations

from typing import Any

import numpy as np
from in_tvm import INSIDE, inside

if INSIDE:
    from relax_graphs import module, operators, run
    from tvm import relax

    from tvmkd.stacks.relax.reshapes import join_reshapes

    op = relax.op


def emitted(value: Any) -> Any:
    return relax.BlockBuilder.current().emit(value)


@inside("relax")
def test_a_chain_is_one_reshape_of_its_source() -> None:
    def make(x: Any) -> Any:
        y = emitted(op.reshape(emitted(op.exp(x)), [2, 12]))
        z = emitted(op.expand_dims(emitted(op.reshape(y, [3, 8])), [0]))
        return op.negative(emitted(op.reshape(emitted(op.squeeze(z, [0])), [4, 6])))

    mod = relax.transform.CanonicalizeBindings()(module([(2, 3, 4)], make))
    joined = join_reshapes(mod)
    assert operators(joined) == ["exp", "reshape", "negative"]
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 10
    lowered = relax.transform.LegalizeOps()(joined)
    np.testing.assert_allclose(run(lowered, [x])[0], -np.exp(x).reshape(4, 6), rtol=1e-6)


@inside("relax")
def test_other_operators_end_a_chain() -> None:
    def make(x: Any) -> Any:
        y = emitted(op.permute_dims(emitted(op.reshape(x, [4, 6]))))
        return op.reshape(y, [3, 8])

    mod = relax.transform.CanonicalizeBindings()(module([(2, 3, 4)], make))
    assert join_reshapes(mod) is mod

    def read_twice(x: Any) -> Any:
        y = emitted(op.reshape(x, [4, 6]))
        return op.add(emitted(op.sum(y)), emitted(op.sum(emitted(op.reshape(y, [3, 8])))))

    mod = relax.transform.CanonicalizeBindings()(module([(2, 3, 4)], read_twice))
    assert join_reshapes(mod) is mod
