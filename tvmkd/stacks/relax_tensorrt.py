"""TensorRT in Relax: which regions of a module it takes, and the module that has them handed over.

Upstream's own partitioning for TensorRT (its BYOC, "bring your own codegen") decides. Where this
TVM was built with TensorRT's code generator, that compiles the regions; upstream's wheel was not,
and there they go to :mod:`tvmkd.tensorrt.byoc` as ONNX.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import tvm
from tvm import relax
from tvm.relax.backend.contrib import tensorrt

from tvmkd.stacks import regions, relax_to_onnx
from tvmkd.stacks.relax_to_onnx import Unsupported
from tvmkd.tensorrt.byoc import ENGINES, Maker, Refused, Region

COMPILER = "tensorrt"
CODEGEN = "relax.ext.tensorrt"
NO_CONVERSION = "TVM cannot convert it to TensorRT"
NO_MATCH = "its arguments do not fit the pattern that TVM looks for"
_CONVOLUTIONS = {"nn.conv1d", "nn.conv2d", "nn.conv3d"}
_TRANSPOSED = {"nn.conv1d_transpose", "nn.conv2d_transpose", "nn.conv3d_transpose"}

# Asked before ours is registered under the same name.
_COMPILED_IN = tvm.get_global_func(CODEGEN, allow_missing=True) is not None


def compiled_in() -> bool:
    """Whether this TVM generates code for TensorRT by itself (its runtime is for TensorRT 10)."""
    return _COMPILED_IN


class Said:
    """Why operators stay in TVM, by their names."""

    def __init__(self) -> None:
        self._reasons: dict[str, list[str]] = {}
        patterns = tensorrt.get_patterns_with_prefix(COMPILER)
        self._known = {_bare(pattern.pattern.op.expr.name) for pattern in patterns}

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


def _bare(name: Any) -> str:
    return str(name).removeprefix("relax.")


def partition(mod: tvm.IRModule, said: Said | None = None) -> tvm.IRModule:
    """The module with the regions that TensorRT takes as functions of their own.

    It is upstream's ``partition_for_tensorrt``, less the operators that cannot be put into ONNX
    where that is how they get to TensorRT.

    Args:
        mod: weights as constants, see `tvmkd.stacks.relax_import.simplify`; stays as it is.
        said: gets the reasons of what stays.
    """
    if compiled_in():
        return _named(tensorrt.partition_for_tensorrt(mod))
    with _refusing(said or Said()):
        return _named(tensorrt.partition_for_tensorrt(mod))


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
    for index, (old, function) in enumerate(_regions(mod).items()):
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
def _refusing(said: Said) -> Iterator[None]:
    """Adds to upstream's patterns that what they match fits into ONNX."""
    original = tensorrt.get_patterns_with_prefix

    def narrowed(pattern: Any) -> relax.transform.FusionPattern:
        def fits(context: Any) -> bool:
            call = context.matched_expr
            if pattern.check is not None and not pattern.check(context):
                return False
            reason = relax_to_onnx.unfit(call)
            if reason is not None:
                said.add(_bare(call.op.name), reason)
            return reason is None

        return relax.transform.FusionPattern(
            pattern.name, pattern.pattern, pattern.annotation_patterns, fits, pattern.attrs_getter
        )

    tensorrt.get_patterns_with_prefix = lambda prefix: [*map(narrowed, original(prefix))]
    try:
        yield
    finally:
        tensorrt.get_patterns_with_prefix = original


def _regions(mod: tvm.IRModule) -> dict[str, relax.Function]:
    """The functions that are regions, by name, in the order of their names."""
    found = {
        variable.name_hint: function
        for variable, function in mod.functions_items()
        if isinstance(function, relax.Function)
        and function.attrs is not None
        and function.attrs.get("Codegen") == COMPILER
    }
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Offloaded:
    """A module whose regions are handed over.

    Attributes:
        mod: the regions as calls into modules of their own, which a library carries along.
        report: see `offload`.
        notes: a line for each region that was not taken after all.
    """

    mod: tvm.IRModule
    report: dict[str, Any]
    notes: list[str]


def maker_for(engine: str, target: Mapping[str, Any]) -> Maker | None:
    """What makes of regions what a library carries; None where TVM's own code generator does.

    Args:
        target: ``Target.to_dict()``.

    Raises:
        MissingError, InputError: see :class:`tvmkd.tensorrt.byoc.Maker`.
    """
    return None if compiled_in() and engine == COMPILER else Maker(engine, target)


def offload(mod: tvm.IRModule, engine: str, maker: Maker | None) -> Offloaded:
    """Hands regions over to an engine; one that it refuses stays in TVM.

    Args:
        mod: weights as constants, see `tvmkd.stacks.relax_import.simplify`; stays as it is.
        engine: of :data:`tvmkd.tensorrt.byoc.ENGINES`.
        maker: see `maker_for`.

    Returns:
        the module, and the report, which is JSON: `coverage`'s, and also ``engine``, ``codegen``
        (``tvmkd`` or ``tvm``) and ``carried``: ``{"region", "operators", "form", "bytes"}`` of each
        region, ``form`` being ``plan`` or ``onnx``.
    """
    title, said = ENGINES[engine], Said()
    parts = partition(mod, said)
    made: dict[str, Region] = {}
    notes = []
    for name, function in _regions(parts).items():
        if maker is None:
            break
        try:
            model, inputs, outputs = relax_to_onnx.region(function)
            made[name] = maker.make(model.SerializeToString(), inputs, outputs)
        except (Unsupported, Refused) as error:
            calls = _calls(function)
            for call in calls:
                said.add(_bare(call.op.name), f"{title} refuses its region: {error}")
            notes.append(f"{title} refuses a region of {len(calls)} operators: {error}")
            parts = _taken_back(parts, name)
    if maker and made and maker.form == "onnx" and engine != "onnxruntime":
        notes.append(
            f"{title}'s engines are built where the library is first loaded, which takes a Python "
            "process with tvmkd"
        )
    report = {
        **_coverage(parts, said),
        "engine": engine,
        "codegen": "tvmkd" if maker else "tvm",
        "carried": [
            {
                "region": name,
                "operators": len(_calls(function)),
                **(
                    {"form": made[name].form, "bytes": len(made[name].blob)}
                    if maker
                    else {"form": "plan", "bytes": None}
                ),
            }
            for name, function in _regions(parts).items()
        ],
    }
    if not report["regions"]:
        return Offloaded(parts, report, notes)
    if maker:
        tvm.register_global_func(CODEGEN, _codegen(made), override=True)
    done = relax.transform.RunCodegen()(parts)
    if maker:
        # The constants are in the regions, and modules that ask for none do not know what to do
        # with them.
        done = done.without_attr("const_name_to_constant")
    return Offloaded(done, report, notes)


def _codegen(made: Mapping[str, Region]) -> Any:
    """What ``RunCodegen`` calls: a module of each region, by its symbol."""

    def generate(functions: Any, _options: Any, _constants: Any) -> list[Any]:
        symbols = [str(function.attrs["global_symbol"]) for function in functions]
        return [regions.make(symbol, made[symbol].to_bytes()) for symbol in symbols]

    return generate


def _taken_back(mod: tvm.IRModule, name: str) -> tvm.IRModule:
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
    # One block of dataflow again, as what comes after wants it.
    whole = tvm.ir.transform.Sequential(
        [
            relax.transform.ToNonDataflow(),
            relax.transform.ConvertToDataflow(),
            relax.transform.CanonicalizeBindings(),
        ]
    )
    return whole(done)


def coverage(mod: tvm.IRModule) -> dict[str, Any]:
    """What TensorRT takes of a module, what it leaves to TVM, and why.

    Args:
        mod: weights as constants, not partitioned.

    Returns:
        ``{"version", "regions", "operators", "offloaded", "left", "mac_share"}``: ``version`` is
        None, upstream's patterns are of no version; how many operators there are in all; how many
        of each name TensorRT takes; ``{"name", "count", "reasons"}`` of those that stay; the share
        of multiply-accumulates that TensorRT takes, None where there are none.
    """
    said = Said()
    return _coverage(partition(mod, said), said)


def _coverage(parts: tvm.IRModule, said: Said) -> dict[str, Any]:
    inside: list[relax.Call] = []
    outside: list[relax.Call] = []
    found = _regions(parts)
    for variable, function in parts.functions_items():
        if isinstance(function, relax.Function):
            (inside if variable.name_hint in found else outside).extend(_calls(function))
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


def _calls(function: relax.Function) -> list[relax.Call]:
    """The operators that a function calls, those inside of its composite functions too."""
    found: list[relax.Call] = []

    def visit(node: relax.Expr) -> None:
        if isinstance(node, relax.Call) and isinstance(node.op, tvm.ir.Op):
            found.append(node)

    relax.analysis.post_order_visit(function, visit)
    return found


def _counts(calls: list[relax.Call]) -> dict[str, int]:
    """How many operators of each name, the most frequent first."""
    found = Counter(_bare(call.op.name) for call in calls)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def macs_of(call: relax.Call) -> int:
    """The multiply-accumulates of an operator: of convolutions and products of matrices.

    A size that is free counts as 1: what one sample of a batch takes.
    """
    kind = _bare(call.op.name)
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
