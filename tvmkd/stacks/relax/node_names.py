"""Which ONNX nodes each kernel of a GPU's module computes, by the names of variables.

The importer's variables are marked with the numbers of their nodes here. Passes that lower a module
keep the variable of what they rewrite, and put what they add in front of it; fusion puts operators
into functions, and equal functions into one. So the calls of ``main`` are gone through again after
fusion, and each operator inside of a function is found among those before it.

(For CPUs, whose layouts and kernels are rewritten more, `tvmkd.stacks.relax.origins` compares
values.)
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tvm
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from tvmkd.stacks.relax.expressions import operator

NODES, CALLS = "tvmkd.onnx_nodes", "tvmkd.nodes_of_calls"
"""Attributes of a module: the names of its ONNX nodes; the nodes of its calls after fusion."""
_MARK = re.compile(r"onnx_(\d+)_\d*")

Named = Sequence[tuple[str, tuple[str, ...]]]
"""The calls of a module in order: the kernel, and the nodes that it computes."""


@contextlib.contextmanager
def importing() -> Iterator[list[str]]:
    """In the context, TVM's importer marks the variables of what a node computes.

    Yields:
        the names of the nodes; one without a name is called after its operator.
    """
    importer, builder = onnx_frontend.ONNXGraphImporter, relax.BlockBuilder
    convert, emit, normalize = importer._convert_operator, builder.emit, builder.normalize
    names: list[str] = []
    mark = ""

    def marked(self: Any, expr: relax.Expr, name_hint: str = "") -> relax.Var:
        return emit(self, expr, name_hint or mark)

    def with_marked_parts(self: Any, expr: relax.Expr) -> relax.Expr:
        # What is in a tuple gets variables here otherwise.
        if mark and isinstance(expr, relax.Tuple):
            parts = [self.emit(part) if isinstance(part, relax.Call) else part for part in expr]
            expr = relax.Tuple(parts)
        return normalize(self, expr)

    def named(self: Any, kind: str, inputs: Any, attrs: Any, opset: int) -> Any:
        nonlocal mark
        # The importer's own name has other characters in it than the file's.
        mark = f"onnx_{len(names)}_"
        names.append(str(attrs["tvm_custom"]["name"] or kind))
        try:
            made = convert(self, kind, inputs, attrs, opset)
            return self.bb.emit(made) if isinstance(made, relax.Call) else made
        finally:
            mark = ""

    importer._convert_operator = named
    builder.emit, builder.normalize = marked, with_marked_parts
    try:
        yield names
    finally:
        importer._convert_operator = convert
        builder.emit, builder.normalize = emit, normalize


def noted(mod: tvm.IRModule, names: Sequence[str]) -> tvm.IRModule:
    """The imported module with the names that `importing` gave, for `with_nodes`."""
    return mod.with_attr(NODES, json.dumps(list(names)))


def _node(var: relax.Var) -> int | None:
    found = _MARK.fullmatch(var.name)
    return int(found[1]) if found else None


def last_node(mod: tvm.IRModule) -> int | None:
    """The number of the node of an imported module's output, whose variable has no mark; None if
    several nodes are outputs.
    """
    result = mod["main"].body.body
    for binding in _bindings(mod["main"]):
        if binding.var.same_as(result) and isinstance(binding.value, relax.Var):
            return _node(binding.value)
    return None


def with_nodes(
    fused: tvm.IRModule, before: tvm.IRModule, grouped: tvm.IRModule, last: int | None
) -> tvm.IRModule:
    """The module with the nodes of its calls, for `read`.

    Args:
        fused: the module after fusion.
        before: before ``FuseOps``, of whose calls ``fused`` is made.
        grouped: after ``FuseOps`` and before ``FuseTIR``.
        last: the node of the output, see `last_node`.
    """
    text = (before.attrs or {}).get(NODES)
    if text is None:
        return fused
    names = json.loads(text)
    nodes = _nodes(_bindings(before["main"]), last)
    found = _found(before, grouped, nodes)
    calls = [(kernel, [names[number] for number in numbers]) for kernel, numbers in found]
    return fused.without_attr(NODES).with_attr(CALLS, json.dumps(calls))


def read(mod: tvm.IRModule) -> Named:
    """The calls of ``main`` with their nodes; empty where the nodes are not known."""
    text = (mod.attrs or {}).get(CALLS)
    return [] if text is None else [(kernel, tuple(nodes)) for kernel, nodes in json.loads(text)]


def along(kernels: Iterable[str], named: Named) -> list[tuple[str, ...]]:
    """The nodes of each of a sequence of kernels, which may have more than the module had."""
    left, found = list(named), []
    for kernel in kernels:
        at = next((index for index, (name, _) in enumerate(left) if name == kernel), None)
        found.append(() if at is None else left[at][1])
        if at is not None:
            del left[: at + 1]
    return found


def _bindings(function: relax.Function) -> list[Any]:
    if not isinstance(function.body, relax.SeqExpr):
        return []
    return [
        binding
        for block in function.body.blocks
        for binding in block.bindings
        if isinstance(binding, relax.VarBinding)
    ]


def _found(
    before: tvm.IRModule, grouped: tvm.IRModule, nodes: dict[Any, int | None]
) -> list[tuple[str, list[int]]]:
    known: dict[Any, Any] = {}  # what an operator computes from what: its variable before fusion
    for binding in _bindings(before["main"]):
        known.setdefault(_key(binding.value, {}), binding.var)
    values: dict[Any, Any] = {}  # variables after fusion: those before it
    found: list[tuple[str, list[int]]] = []
    for binding in _bindings(grouped["main"]):
        value = binding.value
        callee = getattr(value, "op", None)
        inside = grouped[callee] if isinstance(callee, tvm.ir.GlobalVar) else None
        if not isinstance(inside, relax.Function) or not isinstance(callee, tvm.ir.GlobalVar):
            before_it = known.get(_key(value, values))
            values[binding.var] = before_it
            if _kernel(value):
                found.append((_kernel(value), _numbers([before_it], nodes)))
            continue
        inner = {
            param: values.get(arg, arg)
            for param, arg in zip(inside.params, value.args, strict=True)
        }
        for each in _bindings(inside):
            inner[each.var] = known.get(_key(each.value, inner))
        result = inside.body.body if isinstance(inside.body, relax.SeqExpr) else inside.body
        values[binding.var] = inner.get(result)
        inner_vars = [inner[each.var] for each in _bindings(inside)]
        found.append((callee.name_hint, _numbers(inner_vars, nodes)))
    return found


def _nodes(bindings: Sequence[Any], last: int | None) -> dict[Any, int | None]:
    """The node of each variable: what a pass or a converter adds comes before its result."""
    nodes, node = {}, last
    for binding in reversed(bindings):
        number = _node(binding.var)
        node = node if number is None else number
        nodes[binding.var] = node
    return nodes


def _numbers(variables: Iterable[Any], nodes: dict[Any, int | None]) -> list[int]:
    found = [nodes.get(each) for each in variables if each is not None]
    return [number for number in dict.fromkeys(found) if number is not None]


def _kernel(value: Any) -> str:
    """The kernel that ``call_tir`` calls; empty for other expressions."""
    called = operator(value).startswith("relax.call_tir")
    return str(value.args[0].name_hint) if called else ""


def _key(value: Any, values: dict[Any, Any]) -> Any:
    """What an expression computes from which variables."""

    def of(expr: Any) -> Any:
        if isinstance(expr, relax.Tuple):
            return ("tuple", *map(of, expr.fields))
        if isinstance(expr, relax.TupleGetItem):
            return ("item", of(expr.tuple_value), int(expr.index))
        if isinstance(expr, relax.Call):
            return (str(getattr(expr.op, "name", expr.op)), *map(of, expr.args))
        if isinstance(expr, tvm.ir.GlobalVar):
            return expr.name_hint
        if isinstance(expr, relax.ShapeExpr):
            return tuple(map(str, expr.values))
        return values.get(expr, expr)

    return of(value)
