"""Finds the ONNX node at which TVM's importer failed."""

from __future__ import annotations

import onnx


def failed_at(error: BaseException) -> onnx.NodeProto | None:
    """The innermost node that the importer was at when it raised ``error``, if it was at one."""
    trace, found = error.__traceback__, None
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name == "_construct_nodes":
            found = frame.f_locals.get("node", found)
        trace = trace.tb_next
    return found


def named(node: onnx.NodeProto | None) -> str:
    """The operator and the name (or first output) of a node, for messages; ``it`` for None."""
    if node is None:
        return "it"
    name = node.name or (node.output[0] if node.output else "?")
    return f'{node.op_type} (node "{name[:60]}")'
