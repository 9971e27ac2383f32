"""Joins reshapes that follow each other.

TVM makes a view of a kernel that is one reshape. Two that it has fused are a copy: of the scores of
an attention, or of all that a convolution writes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import tvm
from tvm import relax

from tvmkd.stacks.relax.expressions import dataflow, operator, sizes, variables
from tvmkd.stacks.relax.replaced import replaced

RESHAPES = ("relax.reshape", "relax.squeeze", "relax.expand_dims", "relax.flatten")


def join_reshapes(mod: tvm.IRModule) -> tvm.IRModule:
    """Lets each reshape in ``main`` read what the first one of its chain reads.

    A chain ends where others read a reshape, too: it is computed in any case.
    """
    bindings = dataflow(mod)
    if bindings is None:
        return mod
    users = Counter(var for binding in bindings for var in variables(binding.value))
    users.update(variables(mod["main"].body.body))
    first: dict[Any, Any] = {}
    changed: dict[Any, Any] = {}
    for binding in bindings:
        shape = sizes(binding.var)
        if operator(binding.value) not in RESHAPES or shape is None:
            continue
        source = binding.value.args[0]
        joined = source in first and users[source] == 1
        first[binding.var] = first[source] if joined else source
        if joined:
            changed[binding.var] = relax.op.reshape(first[source], shape)
    return replaced(mod, changed)


@tvm.ir.transform.module_pass(opt_level=0, name="JoinReshapes")  # type: ignore[untyped-decorator]
def JoinReshapes(mod: tvm.IRModule, _context: Any) -> tvm.IRModule:  # noqa: N802 - a pass
    """`join_reshapes` as a pass."""
    return join_reshapes(mod)
