"""Keeps Relay's ``FuseOps`` from making kernels whose expressions grow exponentially.

See `tvmkd.stacks.expansion`. A value to store gets ``annotation.stop_fusion``, which ``FuseOps``
removes again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import tvm
from tvm import relay

from tvmkd.stacks.expansion import Step, to_store

INJECTIVE = 2
"""The last one of ``OpPatternKind`` whose operators are inlined into their readers."""


def limit_fusion(mod: tvm.IRModule) -> tvm.IRModule:
    """Marks values of ``main`` that must not be inlined; returns ``mod`` itself if there is none.

    Control flow is left alone: what is fused there is small.
    """
    nodes: list[Any] = []
    relay.analysis.post_order_visit(mod["main"].body, nodes.append)
    plain = (relay.Call, relay.Tuple, relay.TupleGetItem, relay.Var, relay.Constant, tvm.ir.Op)
    if not all(isinstance(node, plain) for node in nodes):
        return mod
    numbers = {node: number for number, node in enumerate(nodes)}
    names = to_store(list(_steps(nodes, numbers)))
    if not names:
        return mod
    new: dict[Any, Any] = {}
    for node in nodes:
        made = _with_new_parts(node, new)
        new[node] = relay.annotation.stop_fusion(made) if str(numbers[node]) in names else made
    main = mod["main"]
    body = relay.Function(main.params, new[main.body], attrs=main.attrs)
    changed = tvm.IRModule(dict(mod.functions.items()))
    changed["main"] = body
    return relay.transform.InferType()(changed)


def _steps(nodes: list[Any], numbers: dict[Any, int]) -> Iterator[Step]:
    """Only single tensors can be stored, so a tuple is read through."""
    for node in nodes:
        if isinstance(node, relay.Call):
            many = isinstance(node.checked_type, relay.TupleType)
            if many or not isinstance(node.op, tvm.ir.Op) or _pattern(node.op) > INJECTIVE:
                continue
            parts = [field for arg in node.args for field in _fields(arg)]
        elif isinstance(node, relay.TupleGetItem):
            parts = [node.tuple_value]
        else:
            continue
        yield Step(str(numbers[node]), Counter(str(numbers[part]) for part in parts))


def _fields(node: Any) -> list[Any]:
    return list(node.fields) if isinstance(node, relay.Tuple) else [node]


def _pattern(op: tvm.ir.Op) -> int:
    found = op.get_attr("TOpPattern")
    return INJECTIVE + 1 if found is None else int(found)


def _with_new_parts(node: Any, new: dict[Any, Any]) -> Any:
    if isinstance(node, relay.Call):
        args = [new[arg] for arg in node.args]
        return relay.Call(node.op, args, node.attrs, node.type_args, node.span)
    if isinstance(node, relay.Tuple):
        return relay.Tuple([new[field] for field in node.fields], node.span)
    if isinstance(node, relay.TupleGetItem):
        return relay.TupleGetItem(new[node.tuple_value], node.index)
    return node
