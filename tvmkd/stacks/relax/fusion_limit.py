"""Keeps `FuseOps` from making kernels whose expressions grow exponentially.

See `tvmkd.stacks.expansion`. A kernel that writes a value to store becomes opaque to `FuseOps`,
which then fuses it with nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import tvm
from tvm import relax, s_tir
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm_ffi import structural_walk

from tvmkd.stacks.expansion import Step, to_store

INJECTIVE, OPAQUE = 2, 8
"""Relax's ``OpPatternKind``: the last one whose kernels are inlined, and the one that never is."""


def limit_fusion(mod: tvm.IRModule) -> tvm.IRModule:
    """Marks kernels that `FuseOps` must not fuse; a module without such kernels stays as it is.

    Args:
        mod: kernels and the functions that call them, after `AnnotateTIROpPattern`.
    """
    reads = {
        name: _reads(func)
        for name, func in mod.functions.items()
        if isinstance(func, tvm.tirx.PrimFunc) and _pattern(func) <= INJECTIVE
    }
    changed = tvm.IRModule(dict(mod.functions.items()), attrs=mod.attrs)
    for name, func in mod.functions.items():
        if not isinstance(func, relax.Function):
            continue
        steps = list(_steps(func, reads))
        names = to_store(steps)
        if names:
            changed.update_func(name, _Storing(changed, names, _keys(func)).visit_expr(func))
    return changed


@tvm.ir.transform.module_pass(opt_level=0, name="LimitFusion")  # type: ignore[untyped-decorator]
def LimitFusion(mod: tvm.IRModule, _context: Any) -> tvm.IRModule:  # noqa: N802 - a pass
    """`limit_fusion` as a pass."""
    return limit_fusion(mod)


def _pattern(func: tvm.tirx.PrimFunc) -> int:
    return int(func.attrs["op_pattern"]) if func.attrs and "op_pattern" in func.attrs else OPAQUE


def _bindings(expr: relax.Expr) -> Iterator[relax.VarBinding]:
    """The bindings of a function's body and of its branches, in order."""
    for block in getattr(expr, "blocks", ()):
        for binding in block.bindings:
            if not isinstance(binding, relax.VarBinding):
                continue
            if isinstance(binding.value, relax.If):
                yield from _bindings(binding.value.true_branch)
                yield from _bindings(binding.value.false_branch)
            yield binding


def _keys(func: relax.Function) -> dict[relax.Var, str]:
    """A name for each variable: two may have the same one of their own."""
    variables = (binding.var for binding in _bindings(func.body))
    return {var: f"{number}" for number, var in enumerate(variables)}


def _steps(func: relax.Function, reads: dict[Any, tuple[list[int], int]]) -> Iterator[Step]:
    keys = _keys(func)
    for binding in _bindings(func.body):
        call = binding.value
        if not isinstance(call, tvm.ir.Call) or getattr(call.op, "name", "") != "relax.call_tir":
            continue
        if call.args[0] not in reads:
            continue
        counts, operations = reads[call.args[0]]
        found: Counter[str] = Counter()
        for arg, count in zip(call.args[1].fields, counts, strict=False):
            if isinstance(arg, relax.Var) and arg in keys:
                found[keys[arg]] += count
        yield Step(keys[binding.var], found, operations)


def _reads(func: tvm.tirx.PrimFunc) -> tuple[list[int], int]:
    """How often one element of a kernel's output reads each argument, and its operations."""
    params = list(func.params)
    places = {param: Counter({number: 1}) for number, param in enumerate(params)}
    costs = dict.fromkeys(params, 0)
    last, cost = Counter[int](), 1
    for block in _blocks(func):
        last, cost = Counter(), 1
        for buffer, count in _loads(block).items():
            for number, times in places.get(buffer, {}).items():
                last[number] += count * times
            cost += count * costs.get(buffer, 0)
        for region in block.writes:
            places[region.source], costs[region.source] = last, cost
    return [last[number] for number in range(len(params))], cost


def _blocks(func: tvm.tirx.PrimFunc) -> list[Any]:
    found: list[Any] = []

    def look(block: Any) -> None:
        if block.iter_vars:  # not the root
            found.append(block)

    structural_walk(func.body, (s_tir.SBlock, look))
    return found


def _loads(block: Any) -> Counter[Any]:
    found: Counter[Any] = Counter()

    def look(load: Any) -> None:
        found[load.source] += 1

    structural_walk(block.body, (tvm.ir.TensorLoad, look))
    return found


@mutator
class _Storing(PyExprMutator):  # type: ignore[misc]
    """Lets the bindings of these variables call kernels that are opaque."""

    def __init__(self, mod: tvm.IRModule, names: set[str], keys: dict[relax.Var, str]) -> None:
        super().__init__(mod)
        self._mod = mod
        self._variables = {var for var, key in keys.items() if key in names}
        self._opaque: dict[Any, Any] = {}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if binding.var in self._variables:
            call = binding.value
            args = [self._of(call.args[0]), *call.args[1:]]
            call = tvm.ir.Call(call.op, args, call.attrs, call.ty_args)
            binding = relax.VarBinding(binding.var, call)
        super().visit_var_binding_(binding)

    def _of(self, name: Any) -> Any:
        if name not in self._opaque:
            func = self._mod[name].with_attr("op_pattern", OPAQUE)
            self._opaque[name] = self.builder_.add_func(func, f"{name.name_hint}_stored")
            self._mod.update_func(self._opaque[name], func)
        return self._opaque[name]
