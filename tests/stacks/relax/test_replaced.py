"""Variables with other values: what reads them follows, and what nothing reads goes."""

from __future__ import annotations

from typing import Any

import numpy as np
from in_tvm import INSIDE, inside

if INSIDE:
    from relax_graphs import module, operators, run
    from tvm import relax

    from tvmkd.stacks.relax.replaced import replaced


@inside("relax")
def test_a_variable_gets_another_value() -> None:
    def make(x: Any) -> Any:
        builder = relax.BlockBuilder.current()
        return relax.op.exp(builder.emit(relax.op.abs(builder.emit(relax.op.negative(x)))))

    mod = module([(3,)], make)
    first, second, *_ = mod["main"].body.blocks[0].bindings
    found = replaced(mod, {second.var: relax.op.nn.relu(mod["main"].params[0])})
    assert operators(found) == ["nn.relu", "exp"]
    x = np.array([-1, 0, 2], np.float32)
    np.testing.assert_allclose(run(found, [x])[0], np.exp(np.maximum(x, 0)), rtol=1e-6)
    assert replaced(mod, {}).same_as(mod)
    assert operators(replaced(mod, {first.var: mod["main"].params[0]})) == ["abs", "exp"]
