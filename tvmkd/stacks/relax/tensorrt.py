"""TensorRT in Relax: which regions of a module it takes.

Upstream's own partitioning for TensorRT (its BYOC, "bring your own codegen") decides. It needs
neither TensorRT nor a TVM that was built with it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import tvm
from tvm import relax
from tvm.relax.backend.contrib import tensorrt
from tvm.relax.dpl.pattern import is_const, is_op, wildcard

from tvmkd.byoc.region import UNSIGNED
from tvmkd.stacks.relax import quantized_regions, to_onnx
from tvmkd.stacks.relax.expressions import operator
from tvmkd.stacks.relax.outside import one_block

COMPILER = "tensorrt"
CODEGEN = "relax.ext.tensorrt"  # by this name TVM looks for what compiles the regions
NO_CONVERSION = "TVM cannot convert it to TensorRT"
NO_MATCH = "its arguments do not fit the pattern that TVM looks for"
_CONVOLUTIONS = {"nn.conv1d", "nn.conv2d", "nn.conv3d"}
_TRANSPOSED = {"nn.conv1d_transpose", "nn.conv2d_transpose", "nn.conv3d_transpose"}

# Asked before ours is registered under the same name.
_COMPILED_IN = tvm.get_global_func(CODEGEN, allow_missing=True) is not None


class Said:
    """Why operators stay in TVM, by their names."""

    def __init__(self) -> None:
        self._reasons: dict[str, list[str]] = {}
        patterns = tensorrt.get_patterns_with_prefix(COMPILER)
        self._known = {bare(pattern.pattern.op.expr.name) for pattern in patterns}

    def add(self, name: str, reason: str) -> None:
        """Once for each reason."""
        known = self._reasons.setdefault(name, [])
        if reason not in known:
            known.append(reason)

    def of(self, name: str) -> list[str]:
        """All that was said of an operator."""
        if name in self._reasons:
            return self._reasons[name]
        return [NO_MATCH if name in self._known else NO_CONVERSION]


def bare(name: Any) -> str:
    """An operator's name as it is told: without ``relax.``."""
    return str(name).removeprefix("relax.")


def by_tvm(engine: str) -> bool:
    """Whether TVM itself compiles an engine's regions: TensorRT's, with that code generator in it.

    Its runtime is for TensorRT 10.
    """
    return _COMPILED_IN and engine == COMPILER


def partition(mod: tvm.IRModule, engine: str = COMPILER, said: Said | None = None) -> tvm.IRModule:
    """The module with the regions that TensorRT takes as functions of their own.

    It is upstream's ``partition_for_tensorrt``, less the operators that cannot be put into ONNX
    where that is how they get to the engine.

    Args:
        mod: weights as constants, see `quantized_regions.simplified`; stays as it is.
        engine: of :data:`tvmkd.byoc.region.ENGINES`.
        said: gets the reasons of what stays.
    """
    if by_tvm(engine):
        return _named(tensorrt.partition_for_tensorrt(mod))
    with _refusing(said or Said(), symmetric=engine not in UNSIGNED):
        parts = _named(tensorrt.partition_for_tensorrt(mod))
    for name, function in regions_of(parts).items():
        if not function.params:  # dequantised constants, whose reader stays in TVM
            parts = taken_back(parts, name)
    return parts


@relax.expr_functor.mutator
class _Renamed(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(self, names: Mapping[tvm.ir.GlobalVar, tvm.ir.GlobalVar]) -> None:
        super().__init__()
        self.names = names

    def visit_global_var_(self, variable: tvm.ir.GlobalVar) -> tvm.ir.GlobalVar:
        return self.names.get(variable, variable)


def _named(mod: tvm.IRModule) -> tvm.IRModule:
    """Regions as ``tensorrt_0`` and so on: upstream joins the names of all their operators."""
    builder = relax.BlockBuilder()
    names = {}
    for index, (old, function) in enumerate(regions_of(mod).items()):
        new = f"{COMPILER}_{index}"
        function = function.with_attr("global_symbol", new)
        names[mod.get_global_var(old)] = builder.add_func(function, new)
    rename = _Renamed(names)
    functions = {
        variable: rename.visit_expr(function) if isinstance(function, relax.Function) else function
        for variable, function in mod.functions_items()
        if variable not in names
    }
    return tvm.IRModule({**functions, **builder.get().functions}, attrs=mod.attrs)


@contextlib.contextmanager
def _refusing(said: Said, symmetric: bool) -> Iterator[None]:
    """Adds to upstream's patterns that what they match fits into ONNX, and those of integers."""
    original = tensorrt.get_patterns_with_prefix

    def narrowed(pattern: Any) -> relax.transform.FusionPattern:
        def fits(context: Any) -> bool:
            if pattern.check is not None and not pattern.check(context):
                return False
            return agreed(context, None)

        return relax.transform.FusionPattern(
            pattern.name, pattern.pattern, pattern.annotation_patterns, fits, pattern.attrs_getter
        )

    def agreed(context: Any, reason: str | None) -> bool:
        call = context.matched_expr

        def fixed(argument: Any) -> bool:
            return quantized_regions.is_constant(argument, context)

        inside = [each for each in context.matched_bindings.values() if operator(each)]
        for each in inside or [call]:
            reason = reason or to_onnx.unfit(each, fixed)
        if reason is not None:
            for name in {operator(each) for each in (call, *inside)}:
                said.add(bare(name), reason)
        return reason is None

    # Upstream leaves it out, which cuts a transformer at each attention.
    take = relax.transform.FusionPattern(
        f"{COMPILER}.take", is_op("relax.take")(wildcard(), is_const())
    )

    def all_of(prefix: str) -> list[Any]:
        mine = quantized_regions.patterns(prefix, symmetric, agreed)
        return [*mine, *map(narrowed, original(prefix)), narrowed(take)]

    tensorrt.get_patterns_with_prefix = all_of
    try:
        yield
    finally:
        tensorrt.get_patterns_with_prefix = original


def regions_of(mod: tvm.IRModule) -> dict[str, relax.Function]:
    """The functions that are regions, by name, in the order of their names."""
    found = {
        variable.name_hint: function
        for variable, function in mod.functions_items()
        if isinstance(function, relax.Function)
        and function.attrs is not None
        and function.attrs.get("Codegen") == COMPILER
    }
    return dict(sorted(found.items()))


def taken_back(mod: tvm.IRModule, name: str) -> tvm.IRModule:
    """The module with a region's operators back in the function that calls it."""
    variable = mod.get_global_var(name)
    function = mod[variable].without_attr("Codegen").with_attr("global_symbol", name)
    flat = tvm.ir.transform.Sequential(
        [relax.transform.LambdaLift(), relax.transform.InlinePrivateFunctions()]
    )(tvm.IRModule({name: function}))[name]
    done = tvm.IRModule(
        {
            other: (
                body.inline_functions({variable: flat.without_attr("global_symbol")})
                if isinstance(body, relax.Function) and "Codegen" not in (body.attrs or {})
                else body
            )
            for other, body in mod.functions_items()
            if other != variable
        },
        attrs=mod.attrs,
    )
    return one_block(done)


def coverage(mod: tvm.IRModule, engine: str = COMPILER) -> dict[str, Any]:
    """What an engine is handed of a module, what stays in TVM, and why.

    Args:
        mod: weights as constants, not partitioned.
        engine: of :data:`tvmkd.byoc.region.ENGINES`; each is handed what TensorRT takes.

    Returns:
        ``{"version", "regions", "operators", "offloaded", "left", "mac_share"}``: ``version`` is
        None, upstream's patterns are of no version; how many operators there are in all; how many
        of each name TensorRT takes; ``{"name", "count", "reasons"}`` of those that stay; the share
        of multiply-accumulates that it takes, None where there are none.
    """
    said = Said()
    return coverage_of(partition(mod, engine, said), said)


def coverage_of(parts: tvm.IRModule, said: Said) -> dict[str, Any]:
    """`coverage` of a module that is partitioned, with the reasons that were heard meanwhile."""
    inside: list[relax.Call] = []
    outside: list[relax.Call] = []
    found = regions_of(parts)
    for variable, function in parts.functions_items():
        if isinstance(function, relax.Function):
            own = calls_of(function)
            if variable.name_hint in found:
                inside += own * max(1, _times_called(parts["main"], variable))
            else:
                outside += own
    macs, others = sum(map(macs_of, inside)), sum(map(macs_of, outside))
    return {
        "version": None,
        "regions": len(found),
        "operators": len(inside) + len(outside),
        "offloaded": _counts(inside),
        "left": [
            {"name": name, "count": count, "reasons": said.of(name)}
            for name, count in _counts(outside).items()
        ],
        "mac_share": macs / (macs + others) if macs + others else None,
    }


def calls_of(function: relax.Function) -> list[relax.Call]:
    """The operators that a function calls, those inside of its composite functions too, each as
    often as it runs.
    """
    return _calls(function.body, {})


def _calls(body: Any, inside: dict[Any, relax.Function]) -> list[relax.Call]:
    """Those of a sequence, given the composite functions by the variables that are called."""
    found: list[relax.Call] = []
    for block in body.blocks if isinstance(body, relax.SeqExpr) else ():
        for binding in block.bindings:
            value = getattr(binding, "value", None)
            if isinstance(value, relax.Function):
                inside[binding.var] = value  # equal operators share one
            elif isinstance(value, relax.If):
                found += _calls(value.true_branch, inside) + _calls(value.false_branch, inside)
            elif isinstance(value, relax.Call) and value.op in inside:
                found += _calls(inside[value.op].body, {})
            # Calls of other engines' parts are no operators of the model.
            elif operator(value) and not bare(operator(value)).startswith("call_"):
                found.append(value)
    return found


def _times_called(main: relax.Function, variable: tvm.ir.GlobalVar) -> int:
    """Equal regions are one function."""
    blocks = main.body.blocks if isinstance(main.body, relax.SeqExpr) else ()
    values = (getattr(each, "value", None) for block in blocks for each in block.bindings)
    return sum(isinstance(each, relax.Call) and each.op == variable for each in values)


def _counts(calls: list[relax.Call]) -> dict[str, int]:
    """How many operators of each name, the most frequent first."""
    found = Counter(bare(call.op.name) for call in calls)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def macs_of(call: relax.Call) -> int:
    """The multiply-accumulates of an operator: of convolutions and products of matrices.

    A size that is free counts as 1: what one sample of a batch takes.
    """
    kind = bare(call.op.name)
    if kind not in _CONVOLUTIONS | _TRANSPOSED | {"matmul"}:
        return 0
    data, weight = (_sizes(argument.ty) for argument in call.args[:2])
    result = _sizes(call.ty)
    if kind == "matmul":
        return prod(result) * data[-1]
    if kind in _TRANSPOSED:
        return prod(data) * prod(weight) // max(1, data[str(call.attrs.data_layout).index("C")])
    layout = call.attrs.out_layout or call.attrs.data_layout
    return prod(result) * prod(weight) // max(1, result[str(layout).index("C")])


def _sizes(kind: relax.TensorType) -> list[int]:
    return [int(size) if isinstance(size, tvm.tirx.IntImm) else 1 for size in kind.shape.values]
