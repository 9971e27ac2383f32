"""Lets NaN pass through maxima and minima with constants, as ONNX defines ReLU and Clip."""

from __future__ import annotations

import json

import tvm
from tvm import tirx

_EXTREMES = ("prim.Max", "prim.Min")
_NUMBER = "ir.FloatImm"


def keep_nan(mod: tvm.IRModule) -> tvm.IRModule:
    """The module with constants first in each maximum and minimum of floats.

    TVM compiles ``max(a, b)`` to ``a > b ? a : b``, which is ``b`` where one of them is NaN. It is
    the same instruction in both orders. This comes after schedules are looked up by their kernel.
    """
    result = {
        variable: _turned(function) if isinstance(function, tirx.PrimFunc) else function
        for variable, function in mod.functions.items()
    }
    return tvm.IRModule(result, attrs=mod.attrs)


def _turned(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function by way of its JSON: this TVM has no visitor of kernels in Python."""
    text = tvm.ir.save_json(function)
    if not any(f'"{kind}"' in text for kind in _EXTREMES):
        return function
    graph = json.loads(text)
    nodes = graph["nodes"]
    changed = False
    for node in nodes:
        if node["type"] not in _EXTREMES:
            continue
        fields = node["data"]
        first, second = (nodes[fields[side]] for side in "ab")
        if second["type"] == _NUMBER != first["type"]:
            fields["a"], fields["b"] = fields["b"], fields["a"]
            changed = True
    return tvm.ir.load_json(json.dumps(graph)) if changed else function
