"""Gives variables of a Relax graph other values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator


def replaced(mod: tvm.IRModule, values: Mapping[Any, Any]) -> tvm.IRModule:
    """``main`` with new values for the variables in ``values``, without what nothing reads then."""
    if not values:
        return mod
    changed = tvm.IRModule(dict(mod.functions.items()), attrs=mod.attrs)
    changed.update_func(mod.get_global_var("main"), _Replaced(values).visit_expr(mod["main"]))
    return relax.transform.DeadCodeElimination()(changed)


@mutator
class _Replaced(PyExprMutator):  # type: ignore[misc]
    def __init__(self, values: Mapping[Any, Any]) -> None:
        super().__init__()
        self._values = values

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if binding.var in self._values:
            binding = relax.VarBinding(binding.var, self._values[binding.var])
        super().visit_var_binding_(binding)
