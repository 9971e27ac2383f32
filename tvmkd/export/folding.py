"""Folds what follows from constants and fixed shapes, with ONNX Runtime and onnxscript."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from tvmkd.base.onnx_runtime import open_session
from tvmkd.export import ort_tools
from tvmkd.export.graph import bodies, graphs, nodes
from tvmkd.export.walk import skeleton

_OURS = {"", "ai.onnx"}
# Of fixed shapes each of these is a constant, or one of its branches is taken for certain.
_FOLDS = {"Shape", "Size", "ConstantOfShape", "Range", "If", "Loop", "Scan", "EyeLike", "Identity"}
# Weights stay quantised: the kernel that reads them wants them so.
_KEPT = {"Constant", "DequantizeLinear"}
_HALF = {TensorProto.FLOAT16, TensorProto.BFLOAT16}


def foldable(model: onnx.ModelProto) -> bool:
    """Whether a node's result is known before the network runs."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer} - {e.name for e in graph.input}
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in _OURS:
            constants.update(node.output)
    return any(
        node.op_type in _FOLDS
        or (node.op_type == "Constant" and node.attribute[0].name != "value")
        or (node.op_type not in _KEPT and node.input and {*node.input} - {""} <= constants)
        for node in graph.node
        if node.domain in _OURS
    )


def fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which constants and everything that follows from fixed shapes are folded.

    ONNX Runtime's offline optimiser at its basic level comes first; onnxscript folds what that
    leaves. ONNX Runtime has few kernels for half precision and would write FP32 arithmetic into a
    model of FP16, so onnxscript alone folds such a model.

    Args:
        model: with fixed input sizes, below 2 GiB; stays as it is. External weights stay outside:
            what follows from them is not folded.

    Raises:
        Exception: of either library, of any class.
    """
    light = _without_external(model)
    result = light if _is_half(model) else _by_onnx_runtime(light)
    if foldable(result):
        further = _by_onnxscript(result)
        # It may leave a node before what gives its input.
        result = further if _is_valid(further) else result
    return result if light is model else _with_external(result, model)


def _without_external(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replaces external weights by inputs; returns the model itself if it has none."""
    inner = (body for node in nodes(model) for body in bodies(node))
    if any(_external(tensor) for body in inner for tensor in body.initializer):
        raise ValueError("the body of a branch or loop has external weights")
    outside = [tensor for tensor in model.graph.initializer if _external(tensor)]
    if not outside:
        return model
    light = onnx.ModelProto()
    light.CopyFrom(model)
    del light.graph.initializer[:]
    light.graph.initializer.extend(t for t in model.graph.initializer if not _external(t))
    given = {entry.name for entry in model.graph.input}
    light.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in outside
        if tensor.name not in given
    )
    return light


def _with_external(light: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """A folded model with the external weights of the original that are still read."""
    result = onnx.ModelProto()
    result.CopyFrom(light)
    del result.graph.input[:]
    result.graph.input.extend(model.graph.input)
    read = {name for node in nodes(result) for name in node.input}
    read |= {entry.name for entry in result.graph.output}
    result.graph.initializer.extend(
        tensor for tensor in model.graph.initializer if _external(tensor) and tensor.name in read
    )
    return result


def _external(tensor: TensorProto) -> bool:
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def _is_half(model: onnx.ModelProto) -> bool:
    for graph in graphs(model):
        for entry in (*graph.input, *graph.output, *graph.value_info):
            if entry.type.tensor_type.elem_type in _HALF:
                return True
        if any(tensor.data_type in _HALF for tensor in graph.initializer):
            return True
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Cast" and attribute.name == "to" and attribute.i in _HALF:
                    return True
                if attribute.HasField("t") and attribute.t.data_type in _HALF:
                    return True
    return False


def _by_onnx_runtime(model: onnx.ModelProto) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "folded.onnx"
        open_session(model.SerializeToString(), threads=1, written=written)
        result = onnx.load(str(written))
    if _others(result) - _others(model):
        raise ValueError("ONNX Runtime put in operators of its own")
    # It lists every domain that it knows.
    used = {node.domain for graph in graphs(result) for node in graph.node} | _OURS
    kept = [entry for entry in result.opset_import if entry.domain in used]
    del result.opset_import[:]
    result.opset_import.extend(kept)
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    return result


def _others(model: onnx.ModelProto) -> Counter[str]:
    return Counter(
        node.op_type for graph in graphs(model) for node in graph.node if node.domain not in _OURS
    )


def _is_valid(model: onnx.ModelProto) -> bool:
    try:
        onnx.checker.check_model(skeleton(model))
    except Exception:  # ValidationError, and C++ errors of other kinds
        return False
    return True


def _by_onnxscript(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxscript import optimizer

    with ort_tools.quiet():
        result: onnx.ModelProto = optimizer.optimize(
            model, num_iterations=4, inline=False, output_size_limit=1 << 20
        )
    return result
