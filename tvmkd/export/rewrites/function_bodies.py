"""Operators that ONNX itself defines by other operators."""

from __future__ import annotations

import onnx

from tvmkd.export.rewrites.inlining import bind_attributes, copies
from tvmkd.export.site import OURS, Refused, Site

_PREVIEW = 1  # the version of ai.onnx.preview


def function_body(site: Site) -> None:
    """Puts the nodes of the operator's definition in its place.

    Raises:
        Refused: the definition needs a type that is not known, or an operator has changed since.
    """
    node, opset = site.node, site.scope.target
    domain = "" if node.domain in OURS else node.domain
    own = opset if not domain else _PREVIEW
    schema = onnx.defs.get_schema(node.op_type, own, domain)
    body = _definition(site, schema, own)
    _check_versions(body, opset)
    given = {entry.name: entry for entry in node.attribute}
    defaults = {
        name: attribute.default_value
        for name, attribute in schema.attributes.items()
        if attribute.default_value.type
    }
    values = {**defaults, **{entry.name: entry for entry in body.attribute_proto}, **given}
    bind_attributes(body.node, values)
    known = dict.fromkeys(body.input, "")
    known.update(zip(body.input, node.input, strict=False))
    outputs = dict(zip(body.output, node.output, strict=False))
    known.update({name: mine for name, mine in outputs.items() if mine})
    made = copies(site, body.node, known)
    # An output that is an input as it is.
    made += [
        onnx.helper.make_node("Identity", [known[name]], [mine])
        for name, mine in outputs.items()
        if mine and known[name] != mine
    ]
    site.replace(made)


def _definition(site: Site, schema: onnx.defs.OpSchema, opset: int) -> onnx.FunctionProto:
    node = site.node
    fixed = [version for version in schema.function_opset_versions if version <= opset]
    if fixed:
        text = schema.get_function_with_opset_version(max(fixed))
        return onnx.FunctionProto.FromString(text)
    computed = [each for each in schema.context_dependent_function_opset_versions if each <= opset]
    if not computed:
        raise Refused("has no definition by other operators")
    kinds = [site.scope.types.get(name) if name else onnx.TypeProto() for name in node.input]
    if any(kind is None for kind in kinds):
        raise Refused("has an input whose type is not known")
    text = schema.get_context_dependent_function_with_opset_version(
        max(computed),
        node.SerializeToString(),
        [kind.SerializeToString() for kind in kinds if kind is not None],
    )
    return onnx.FunctionProto.FromString(text)


def _check_versions(body: onnx.FunctionProto, opset: int) -> None:
    """Makes sure that the definition, often of an older opset, means the same in this one."""
    old = next((e.version for e in body.opset_import if e.domain in OURS), opset)
    for node in body.node:
        then, now = (onnx.defs.get_schema(node.op_type, version) for version in (old, opset))
        if now.deprecated or (then.attributes.keys() - now.attributes.keys()):
            raise Refused(f"is defined by {node.op_type} of opset {old}")
