"""Puts the small arrays of kernels on the stack, where LLVM turns them into registers.

TVM takes memory for an array of the scope ``local`` from a pool, and gives it back, in each turn of
a loop over threads: 430 instructions for a tile of sums that then stays in registers. Arrays of
under a kilobyte with the scope ``global`` are on the stack. The scope is changed when a kernel is
compiled, after schedules are looked up, so that records stay as they are.
"""

from __future__ import annotations

import json

import tvm

_BUFFER, _STRING = "tirx.BufferType", "ffi.String"
_LOCAL, _GLOBAL = "local", "global"


def on_stack(mod: tvm.IRModule) -> tvm.IRModule:
    """The module with ``global`` instead of ``local`` for the scope of each array.

    Larger arrays come from the pool with either scope. Not for a GPU, where the scopes are others.
    """
    text = tvm.ir.save_json(mod)
    if f'"{_LOCAL}"' not in text or f'"{_BUFFER}"' not in text:
        return mod
    graph = json.loads(text)  # this TVM has no visitor of kernels in Python
    nodes = graph["nodes"]
    local = {n for n, node in enumerate(nodes) if _is(node, _LOCAL)}
    found = [node["data"] for node in nodes if node["type"] == _BUFFER]
    found = [fields for fields in found if fields["storage_scope"] in local]
    if not found:
        return mod
    nodes.append({"type": _STRING, "data": _GLOBAL})
    for fields in found:
        fields["storage_scope"] = len(nodes) - 1
    return tvm.ir.load_json(json.dumps(graph))


def _is(node: dict[str, object], text: str) -> bool:
    return node["type"] == _STRING and node["data"] == text
