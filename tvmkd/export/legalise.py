"""Rewrites an ONNX model to one that means the same and that TVM's classic importer reads rightly.

The importer (ONNX to Relay, TVM up to 0.19) was written for opsets 13 to 17. What is newer it takes
for what it knows, and computes something else without a word.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from tvmkd.base.errors import InputError
from tvmkd.export.opset import REWRITES
from tvmkd.export.site import OURS, Refused, Scope, Site
from tvmkd.export.walk import all_names, graphs, line, rewrite, skeleton

OPSETS = range(13, 18)
# Before 7, operators took smaller operands in their own ways, which onnx's converter misses for
# some. What comes after the newest was not looked through for changes of meaning.
OLDEST, NEWEST = 7, 26
IR_VERSIONS = range(8, 10)
_SHOWN = 5
# Notes about where a node came from and where it may run; IR 9 has none of these.
_NOTES = ("metadata_props", "device_configurations")


def legalise(model: onnx.ModelProto, where: str = "model", opset: int = 17) -> onnx.ModelProto:
    """A copy of ``model`` in opset 13 to ``opset``, without what TVM's importer misreads.

    Opset 13 to ``opset`` is kept, older becomes 13, newer ``opset``. Names of inputs, outputs and
    weights stay. Functions are inlined; weights are constants, also those that old files list among
    their inputs; types of tensors inside the graph are left out, and so are notes on nodes.

    Args:
        model: with fixed input shapes; stays as it is.
        where: names the model in errors.
        opset: the newest opset to write, 13 to 17.

    Raises:
        InputError: a node has no older form, or the model is not valid.
    """
    if opset not in OPSETS:
        raise InputError(f"opset {opset}: a model is brought to {OPSETS[0]} to {OPSETS[-1]}")
    source = _version(model, where)
    newest = min(NEWEST, onnx.defs.onnx_opset_version())
    if not OLDEST <= source <= newest:
        raise InputError(
            f"{where}: opset {source} is not read here: export it with {OLDEST} to {newest}"
        )
    result = _inlined(model, where)
    if source < OPSETS[0]:
        result = _raised(result, source, where)
    _tidy(result)
    target = min(max(source, OPSETS[0]), opset)
    scope = Scope({}, {}, all_names(result.graph), source, target, {})
    inferred = rewrite(result, scope, _visit, where)
    if scope.problems:
        raise InputError(f"{where}: cannot be brought to opset {target}: {_listed(scope.problems)}")
    del result.graph.output[:]
    result.graph.output.extend(inferred.output)
    for entry in result.opset_import:
        if entry.domain in OURS:
            entry.version = target
    _check(result, where)
    return result


def _version(model: onnx.ModelProto, where: str) -> int:
    for entry in model.opset_import:
        if entry.domain in OURS:
            return int(entry.version)
    raise InputError(f"{where}: does not say its opset: export it again")


def _inlined(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """A copy without functions."""
    if not model.functions:
        result = onnx.ModelProto()
        result.CopyFrom(model)
        return result
    from onnx.inliner import inline_local_functions

    try:
        result = inline_local_functions(model)
    except Exception as error:  # C++ errors of several kinds
        raise InputError(f"{where}: its functions cannot be inlined: {line(error)}") from None
    if result.functions:
        names = ", ".join(function.name for function in result.functions)
        raise InputError(
            f"{where}: its functions {names} are in another opset than the model: "
            "export it with one opset"
        )
    return result


def _raised(model: onnx.ModelProto, source: int, where: str) -> onnx.ModelProto:
    """Brings a model from before opset 13 to 13; what that leaves wrong, the rewrites mend."""
    from onnx.version_converter import convert_version

    try:
        result = convert_version(model, OPSETS[0])
    except Exception as error:  # ConvertError, and C++ errors of other kinds
        raise InputError(
            f"{where}: cannot be brought from opset {source} to {OPSETS[0]}: {line(error)}: "
            f"export it with opset {OPSETS[0]} or newer"
        ) from None
    # The converter may lose either.
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    known = {entry.domain for entry in result.opset_import}
    result.opset_import.extend(e for e in model.opset_import if e.domain not in known | OURS)
    return result


def _tidy(model: onnx.ModelProto) -> None:
    """Takes away what would not be true, or not be known, in the model to be."""
    version = max(model.ir_version, IR_VERSIONS[0])
    model.ir_version = min(version, IR_VERSIONS[-1])
    graph = model.graph
    # An input may be fed another value: nothing that follows from it would be known.
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    if "configuration" in model.DESCRIPTOR.fields_by_name:
        model.ClearField("configuration")
    for body in graphs(graph):
        # They may be from before the input shapes were fixed.
        del body.value_info[:]
        for owner in (body, *body.node, *body.input, *body.output, *body.initializer):
            for field in _NOTES:
                if field in owner.DESCRIPTOR.fields_by_name:
                    owner.ClearField(field)


def _check(model: onnx.ModelProto, where: str) -> None:
    try:
        onnx.checker.check_model(skeleton(model), full_check=True)
    except Exception as error:  # ValidationError, and C++ errors of other kinds
        raise InputError(f"{where}: not a valid ONNX model: {line(error)}") from None


def _visit(node: onnx.NodeProto, scope: Scope) -> list[onnx.NodeProto]:
    """The node in the older opset, and what goes before it; a problem is kept in the scope."""
    site, operator = Site(node, scope), node.op_type
    if node.domain in OURS:
        change = REWRITES.get(operator)
        try:
            if change is not None:
                change(site)
            _fit(site)
        except Refused as reason:
            scope.problems.setdefault((operator, str(reason)), []).append(site.name)
    return [*site.before, node]


def _fit(site: Site) -> None:
    """Drops attributes that are newer than the target and say nothing.

    Raises:
        Refused: the target has no such operator, or not with these attributes, inputs and types.
    """
    node, scope = site.node, site.scope
    newest = max(scope.source, scope.target)
    try:
        schema = onnx.defs.get_schema(node.op_type, scope.target)
    except onnx.defs.SchemaError:
        raise Refused("is not in it") from None
    if schema.deprecated:
        raise Refused("is not in it")
    for entry in list(node.attribute):
        if entry.name in schema.attributes:
            continue
        newer = onnx.defs.get_schema(node.op_type, newest).attributes.get(entry.name)
        value = helper.get_attribute_value(entry)
        if newer is None or not newer.default_value.type:
            raise Refused(f"has {entry.name}")
        if value != helper.get_attribute_value(newer.default_value):
            raise Refused(f"has {entry.name}={site.attribute(entry.name)}")
        site.drop(entry.name)
    while node.input and not node.input[-1]:
        node.input.pop()
    if len(node.input) > schema.max_input or len(node.output) > schema.max_output:
        raise Refused("has more inputs or outputs than there")
    for names, formal in ((node.input, schema.inputs), (node.output, schema.outputs)):
        for index, name in enumerate(names):
            kind = scope.types.get(name)
            if kind is None or not kind.tensor_type.elem_type:
                continue
            text = TensorProto.DataType.Name(kind.tensor_type.elem_type).lower()
            # The last one may stand for any number of them.
            if f"tensor({text})" not in formal[min(index, len(formal) - 1)].types:
                raise Refused(f"has tensors of type {text}")


def _listed(problems: dict[tuple[str, str], list[str]]) -> str:
    parts = []
    for (operator, reason), nodes in sorted(problems.items()):
        more = f" and {len(nodes) - _SHOWN} more" if len(nodes) > _SHOWN else ""
        parts.append(f"{operator} {reason} (nodes: {', '.join(nodes[:_SHOWN])}{more})")
    return f"{'; '.join(parts)}: rewrite this part of the model"
