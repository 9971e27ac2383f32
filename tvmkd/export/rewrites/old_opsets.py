"""Brings a model of opset 1 to 12 to opset 13: what was an attribute then is an input now.

onnx's own converter does so too, but not in bodies of control flow, and not for operators whose
meaning has changed without their form (Resize, Hardmax, PRelu).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnx.version_converter

from tvmkd.export.rewrites.integers import given
from tvmkd.export.rewrites.plain import constant_like, reshape
from tvmkd.export.site import OURS, Refused, Scope, Site
from tvmkd.export.walk import all_names, graphs, rewrite

TARGET = 13
_ATTRIBUTES = 7  # before that operands were broadcast by attributes
_IR = 7


def raise_old(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """A copy of ``model`` in opset 13, or ``model`` itself if it is that new.

    Args:
        model: without functions; stays as it is.
        where: names the model in errors.

    Raises:
        Refused: an operator has no form in opset 13; the text begins with its name.
        onnx.version_converter.ConvertError: the same, below opset 7.
    """
    source = min((e.version for e in model.opset_import if e.domain in OURS), default=TARGET)
    if source >= TARGET:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    if source < _ATTRIBUTES:
        result = _to_seven(result)
    for body in graphs(result.graph):
        del body.value_info[:]
    scope = Scope({}, {}, all_names(result.graph), source, TARGET, {})
    rewrite(result, scope, _visit, where)
    for entry in result.opset_import:
        if entry.domain in OURS:
            entry.version = TARGET
    result.ir_version = max(result.ir_version, _IR)
    return result


def _to_seven(model: onnx.ModelProto) -> onnx.ModelProto:
    for body in graphs(model.graph):
        for node in body.node:
            if node.op_type == "Concat" and not any(a.name == "axis" for a in node.attribute):
                node.attribute.append(onnx.helper.make_attribute("axis", 1))
    result = onnx.version_converter.convert_version(model, _ATTRIBUTES)
    # The converter may lose either.
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    known = {entry.domain for entry in result.opset_import} | OURS
    result.opset_import.extend(e for e in model.opset_import if e.domain not in known)
    return result


def _visit(node: onnx.NodeProto, scope: Scope) -> list[onnx.NodeProto]:
    site = Site(node, scope)
    change = RAISING.get(node.op_type) if node.domain in OURS else None
    if change is not None:
        try:
            change(site)
        except Refused as reason:
            raise Refused(f"{node.op_type} {reason}") from None
    return [*site.before, node]


def _axes(site: Site) -> None:
    """``Squeeze``, ``Unsqueeze``, ``ReduceSum``: axes become an input."""
    axes = site.attribute("axes")
    if axes is not None:
        site.drop("axes")
        site.set_input(1, site.constant(axes))


def _split(site: Site) -> None:
    sizes = site.attribute("split")
    if sizes is not None:
        site.drop("split")
        site.set_input(1, site.constant(sizes))


def _slice(site: Site) -> None:
    begins = site.attribute("starts")
    if begins is None:
        return
    ends = site.attribute("ends")
    axes = site.attribute("axes") or list(range(len(begins)))
    site.become("Slice", [given(site, 0), *(site.constant(v) for v in (begins, ends, axes))])


def _top_k(site: Site) -> None:
    count = site.attribute("k")
    if count is not None:
        site.drop("k")
        site.set_input(1, site.constant([count]))


def _clip(site: Site) -> None:
    for index, name in ((1, "min"), (2, "max")):
        value = site.attribute(name)
        if value is not None:
            site.drop(name)
            site.set_input(index, constant_like(site, value, given(site, 0)))


def _pad(site: Site) -> None:
    pads = site.attribute("pads") or site.attribute("paddings")
    if pads is None:
        return
    value = site.attribute("value", 0.0)
    site.drop("pads", "paddings", "value")
    site.set_input(1, site.constant(pads))
    if value:
        site.set_input(2, constant_like(site, value, given(site, 0)))


def _dropout(site: Site) -> None:
    """In inference: the mask was a float before opset 10, where nobody could use it."""
    if site.scope.source < 12:
        ratio = site.attribute("ratio")
        site.drop("ratio", "is_test")
        if ratio is not None:
            site.set_input(1, site.constant(np.array(ratio, np.float32)))


def _normalisation(site: Site) -> None:
    if not site.attribute("spatial", 1):
        raise Refused("has spatial=0")
    site.drop("spatial", "is_test", "consumed_inputs")


def _scatter(site: Site) -> None:
    site.node.op_type = "ScatterElements"


def _last_axis(site: Site) -> None:
    """``Softmax``, ``LogSoftmax``, ``Hardmax``: over all axes from one on, not over that one."""
    operator, data, axis = site.node.op_type, given(site, 0), site.attribute("axis", 1)
    shape = site.shape()
    if shape is not None and axis % len(shape) == len(shape) - 1:
        site.set("axis", -1)
        return
    flat = site.add("Flatten", [data], axis=axis)
    result = site.add(operator, [flat], axis=-1)
    site.become("Reshape", [result, site.add("Shape", [data])])


def _resize(site: Site) -> None:
    """``Upsample`` and ``Resize`` of opset 10: coordinates are divided by the scale.

    ONNX left open which neighbour is the nearest; ONNX Runtime takes the one before where it
    enlarges and the one behind where it shrinks.
    """
    if site.scope.source >= 11:
        return
    mode = site.attribute("mode", "nearest")
    scales = site.attribute("scales")
    if scales is not None:
        factors = np.array(scales, np.float32)
        name = site.constant(factors)
    else:
        name, value = given(site, 1), site.value(1)
        factors = np.ones(1, np.float32) if value is None else value
    options = {"coordinate_transformation_mode": "asymmetric"}
    mode = {"bilinear": "linear"}.get(mode, mode)
    if mode == "nearest":
        shrinks, grows = bool((factors < 1).any()), bool((factors > 1).any())
        if shrinks and grows:
            raise Refused("shrinks one axis and enlarges another by nearest neighbours")
        options["nearest_mode"] = "ceil" if shrinks else "floor"
    region = site.constant(np.array([], np.float32))
    site.become("Resize", [given(site, 0), region, name], mode=mode, **options)


def _slopes(site: Site) -> None:
    """``PRelu`` before opset 7: one slope for each channel, which is axis 1."""
    if site.scope.source >= _ATTRIBUTES:
        return
    shape, slopes = site.shape(), site.shape(1)
    if shape is None or slopes is None:
        raise Refused("has an input whose shape is not known")
    if len(slopes) == 1 and slopes != (1,) and len(shape) > 2:
        site.set_input(1, reshape(site, given(site, 1), [-1] + [1] * (len(shape) - 2)))


RAISING: Mapping[str, Callable[[Site], None]] = {
    "BatchNormalization": _normalisation,
    "Clip": _clip,
    "Dropout": _dropout,
    "Hardmax": _last_axis,
    "LogSoftmax": _last_axis,
    "PRelu": _slopes,
    "Pad": _pad,
    "ReduceSum": _axes,
    "Resize": _resize,
    "Scatter": _scatter,
    "Slice": _slice,
    "Softmax": _last_axis,
    "Split": _split,
    "Squeeze": _axes,
    "TopK": _top_k,
    "Unsqueeze": _axes,
    "Upsample": _resize,
}
