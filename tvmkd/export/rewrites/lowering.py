"""Replaces every operator of the registry in a model."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from tvmkd.export.rewrites.registry import LOWERINGS
from tvmkd.export.site import OURS, Refused, Scope, Site
from tvmkd.export.walk import all_names, graphs, rewrite

_FUSED = ("gemm_input_shape", "gemm_output_shape")  # of MatMulAddFusion
_PASSES = 8  # bodies in bodies in bodies


def nothing(site: Site) -> bool:
    """Of every node: it is lowered."""
    return False


def lower(
    model: onnx.ModelProto, where: str, stays: Callable[[Site], bool] = nothing
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """A copy of ``model`` with plain operators in place of those that TVM's importers misread, or
    ``model`` itself if there are none.

    Names of inputs, outputs and weights stay, and so does the opset.

    Args:
        model: opset 13 or newer, without functions, with fixed input shapes; stays as it is.
        where: names the model in errors.
        stays: whether a node stays as it is, although it could be lowered.

    Returns:
        the copy, and why a node could not be lowered by its name (or that of its first output):
        such a node is as it was.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    _forget_types(result)
    opset = next((e.version for e in result.opset_import if e.domain in OURS), 1)
    reasons: dict[str, str] = {}
    for count in range(_PASSES):
        reasons.clear()
        change = _Change(reasons, stays)
        scope = Scope({}, {}, all_names(result.graph), opset, opset, {})
        rewrite(result, scope, change.visit, where, strict=False)
        if not change.made:
            if not count:
                return model, reasons
            break
    _forget_domains(result)
    _forget_weights(result)
    _free_names(result)
    return result, reasons


class _Change:
    """One pass over a model."""

    def __init__(self, reasons: dict[str, str], stays: Callable[[Site], bool]) -> None:
        self.made = False
        self._reasons, self._stays = reasons, stays

    def visit(self, node: onnx.NodeProto, scope: Scope) -> list[onnx.NodeProto]:
        """What comes in place of a node; nodes that are new are lowered in turn."""
        domain = "" if node.domain in OURS else node.domain
        lowering = LOWERINGS.get((domain, node.op_type))
        if lowering is not None and not self._stays(Site(node, scope)):
            before = node.SerializeToString()
            site = Site(node, scope)
            name, operator = site.name, node.op_type
            try:
                lowering(site)
            except Refused as reason:
                node.ParseFromString(before)
                site.before.clear()
                self._reasons[name] = f"{operator} {reason}"
            if site.before or node.SerializeToString() != before:
                self.made = True
                return [new for each in (*site.before, node) for new in self.visit(each, scope)]
        scope.learn(node)
        return [node]


def _forget_types(model: onnx.ModelProto) -> None:
    """Drops stored types, but those that inference cannot find: of other domains' outputs."""
    for body in graphs(model.graph):
        foreign = {
            name for node in body.node if node.domain not in OURS for name in node.output if name
        }
        kept = [entry for entry in body.value_info if entry.name in foreign]
        del body.value_info[:]
        body.value_info.extend(kept)


def _forget_domains(model: onnx.ModelProto) -> None:
    used = {node.domain for body in graphs(model.graph) for node in body.node} | OURS
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _forget_weights(model: onnx.ModelProto) -> None:
    """Drops weights that no node reads any more: TVM reads all, also of types that it has not."""
    used = {name for body in graphs(model.graph) for node in body.node for name in node.input}
    used |= {entry.name for body in graphs(model.graph) for entry in body.output}
    used |= {entry.name for entry in model.graph.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    if len(kept) < len(model.graph.initializer):
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)


def _free_names(model: onnx.ModelProto) -> None:
    """Renames weights that ONNX Runtime's optimiser made: for new products it makes others of the
    same names, and fails.
    """
    taken = all_names(model.graph)
    new: dict[str, str] = {}
    for tensor in model.graph.initializer:
        if tensor.name.startswith(_FUSED):
            old, scope = tensor.name, Scope({}, {}, taken, 0, 0, {})
            tensor.name = new[old] = scope.fresh(f"kept_{old}")
    for body in graphs(model.graph):
        for node in body.node:
            for index, name in enumerate(node.input):
                node.input[index] = new.get(name, name)
