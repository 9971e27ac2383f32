"""Rewrites ONNX operators, one at a time, to the form of an older opset.

Besides what opset 18 and newer brought, this turns what TVM's importer misreads into what it reads
rightly: axes and indices as inputs, and negative ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from onnx import TensorProto

from tvmkd.export.site import Refused, Site, constant_value

# What a reduction over no axes does to each element; the others leave it as it is.
_ON_ELEMENTS = {"ReduceL1": "Abs", "ReduceL2": "Abs", "ReduceLogSum": "Log"}


def _reduce(site: Site) -> None:
    operator, data = site.node.op_type, site.node.input[0]
    keep = {"keepdims": site.attribute("keepdims", 1)}
    shape = site.shape()
    # The importer makes a vector of a scalar.
    axes = None if shape == () else site.axes()
    if shape == () or (axes is None and site.attribute("noop_with_empty_axes", 0)):
        if operator == "ReduceSumSquare":
            site.become("Mul", [data, data])
        else:
            site.become(_ON_ELEMENTS.get(operator, "Identity"), [data])
    elif axes is None or (shape is not None and len(set(axes)) == len(shape)):
        site.become(operator, [data], **keep)
    elif operator != "ReduceSum":
        site.become(operator, [data], axes=axes, **keep)
    else:
        # Since opset 13 its axes are an input, of which the importer takes the first number only.
        if len(axes) > 1 and min(axes) < 0:
            raise Refused("has negative axes and an input whose shape is not known")
        first, *others = sorted(axes)
        for axis in reversed(others):
            data = site.add(operator, [data, site.constant([axis])], **keep)
        site.become(operator, [data, site.constant([first])], **keep)


def _gather(site: Site) -> None:
    indices = site.value(1)
    if indices is None or not (indices < 0).any():
        return
    size = site.size(site.attribute("axis", 0))
    if size is None:
        raise Refused("has negative indices on an axis whose size is not known")
    positive = np.where(indices < 0, indices + size, indices).astype(indices.dtype)
    site.set_input(1, site.constant(positive))


def _squeeze(site: Site) -> None:
    if not site.has(1):
        return
    values, shape = site.value(1), site.shape()
    if values is None:
        raise Refused("has axes that are not constant")
    axes = values.reshape(-1).tolist()
    if all(axis >= 0 for axis in axes):
        return
    if shape is None:
        raise Refused("has negative axes and an input whose shape is not known")
    # The importer counts each negative axis from the end that the ones before it have moved.
    rank = len(shape) + (len(axes) if site.node.op_type == "Unsqueeze" else 0)
    site.set_input(1, site.constant([axis % rank for axis in axes]))


def _constant(site: Site) -> None:
    value = constant_value(site.node)
    if value is not None and site.attribute("value") is None:
        # The importer reads no other form.
        site.become("Constant", [], value=value)


def _split(site: Site) -> None:
    count = site.attribute("num_outputs")
    if count is None:
        return
    size = site.size(site.attribute("axis", 0))
    if size is None:
        raise Refused("has num_outputs on an axis whose size is not known")
    chunk = -(-size // count)
    last = size - chunk * (count - 1)
    if last < 0:
        raise Refused(f"has num_outputs={count} on an axis of size {size}")
    site.drop("num_outputs")
    site.set_input(1, site.constant([chunk] * (count - 1) + [last]))


def _pad(site: Site) -> None:
    if site.attribute("mode") == "wrap":
        raise Refused('has mode="wrap"')
    if not site.has(3):
        return
    pads, axes, shape = site.value(1), site.value(3), site.shape()
    if pads is None or axes is None or shape is None:
        raise Refused("has axes, and pads, axes or an input's shape that are not constant")
    full = np.zeros((2, len(shape)), np.int64)
    full[:, axes] = pads.reshape(2, -1)
    site.set_input(1, site.constant(full.reshape(-1)))
    del site.node.input[3:]


def _hardmax(site: Site) -> None:
    if site.scope.source >= 13:
        return
    # onnx's converter does this for Softmax and LogSoftmax only.
    shape, axis = site.shape(), site.attribute("axis", 1)
    if shape is None or None in shape:
        raise Refused("has an input whose shape is not known")
    if axis % len(shape) == len(shape) - 1:
        site.set("axis", -1)
        return
    flat = site.add("Flatten", [site.node.input[0]], axis=axis)
    sizes = [size for size in shape if size is not None]
    site.become("Reshape", [site.add("Hardmax", [flat], axis=-1), site.constant(sizes)])


def _resize(site: Site) -> None:
    if site.scope.source < 11:
        # Then there was one way only, which onnx's converter does not write down.
        site.set("coordinate_transformation_mode", "asymmetric")
        if site.attribute("mode", "nearest") == "nearest":
            scales = site.value(2)
            if scales is None or (scales < 1).any():
                raise Refused(
                    "shrinks by nearest neighbours, whose rounding its opset does not define"
                )
            site.set("nearest_mode", "floor")
    mode = site.attribute("coordinate_transformation_mode")
    if mode == "half_pixel_symmetric":
        raise Refused(f'has coordinate_transformation_mode="{mode}"')
    axes, shape = site.attribute("axes"), site.shape()
    every = shape is not None and [axis % len(shape) for axis in axes or ()] == [*range(len(shape))]
    if every:
        site.drop("axes")


def _scatter(site: Site) -> None:
    reduction = site.attribute("reduction", "none")
    if reduction in {"max", "min"}:
        raise Refused(f'has reduction="{reduction}"')


def _pool(site: Site) -> None:
    if all(step == 1 for step in site.attribute("dilations", ())):
        site.drop("dilations")


def _reshape(site: Site) -> None:
    if not site.attribute("allowzero", 0):
        return
    shape, result = site.value(1), site.output_shape()
    if not ((shape is not None and shape.all()) or (result is not None and all(result))):
        raise Refused("has allowzero=1 and a size that may be 0")
    site.drop("allowzero")


def _cast(site: Site) -> None:
    # Both speak of types of 8 bits only, which are refused wherever they stand.
    site.drop("saturate", "round_mode")


def _quantize(site: Site) -> None:
    site.drop("saturate")
    # With a zero point it only repeats that one's type.
    if site.has(2) or site.attribute("output_dtype") == TensorProto.UINT8:
        site.drop("output_dtype")


def _grid_sample(site: Site) -> None:
    if site.scope.source < 20:
        return
    shape = site.shape()
    if shape is None or len(shape) != 4:
        raise Refused("has an input that is not [N, C, H, W]")
    mode = site.attribute("mode", "linear")
    site.set("mode", {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode))


def _roi_align(site: Site) -> None:
    mode = site.attribute("coordinate_transformation_mode", "half_pixel")
    if site.scope.source < 16 or site.scope.target >= 16:
        return
    if mode != "output_half_pixel":
        raise Refused(f'has coordinate_transformation_mode="{mode}"')
    site.drop("coordinate_transformation_mode")


def _mish(site: Site) -> None:
    """With one function where its square fits: ``tanh(log(1 + e))`` is ``w / (w + 2)`` of
    ``w = e (e + 2)``, and 1 from 20 on.
    """
    data = site.node.input[0]
    if site.elem_type() != TensorProto.FLOAT:
        site.become("Mul", [data, site.add("Tanh", [site.add("Softplus", [data])])])
        return
    two = site.filled(2.0)
    power = site.add("Exp", [site.add("Min", [data, site.filled(20.0)])])
    w = site.add("Mul", [power, site.add("Add", [power, two])])
    site.become("Mul", [data, site.add("Div", [w, site.add("Add", [w, two])])])


def _swish(site: Site) -> None:
    data, alpha = site.node.input[0], site.attribute("alpha", 1.0)
    scaled = data if alpha == 1 else site.add("Mul", [data, site.filled(alpha)])
    site.become("Mul", [data, site.add("Sigmoid", [scaled])])


def _gelu(site: Site) -> None:
    data = site.node.input[0]
    if site.attribute("approximate", "none") == "tanh":
        cube = site.add("Mul", [site.add("Mul", [data, data]), data])
        inner = site.add("Add", [data, site.add("Mul", [cube, site.filled(0.044715)])])
        scaled = site.add("Mul", [inner, site.filled(math.sqrt(2 / math.pi))])
        bent = site.add("Tanh", [scaled])
    else:
        bent = site.add("Erf", [site.add("Mul", [data, site.filled(math.sqrt(0.5))])])
    weight = site.add("Add", [bent, site.filled(1)])
    site.become("Mul", [site.add("Mul", [data, site.filled(0.5)]), weight])


def _group_norm(site: Site) -> None:
    data, scale, bias = site.node.input
    shape, groups = site.shape(), site.attribute("num_groups")
    if shape is None or None in shape:
        raise Refused("has an input whose shape is not known")
    sizes = [size for size in shape if size is not None]
    # Before 21 the scale and the bias had one number a group.
    by_group = site.scope.source < 21
    inner = [scale, bias] if by_group else [site.filled(1, groups), site.filled(0, groups)]
    grouped = site.add("Reshape", [data, site.constant([sizes[0], groups, -1])])
    epsilon = site.attribute("epsilon", 1e-5)
    normal = site.add("InstanceNormalization", [grouped, *inner], epsilon=epsilon)
    whole = site.constant(sizes)
    if by_group:
        site.become("Reshape", [normal, whole])
        return
    column = site.constant([-1] + [1] * (len(sizes) - 2))
    scales, biases = (site.add("Reshape", [name, column]) for name in (scale, bias))
    product = site.add("Mul", [site.add("Reshape", [normal, whole]), scales])
    site.become("Add", [product, biases])


def _newer(site: Site) -> None:
    """The operator is in the older opset too, but means something else there."""
    if site.scope.source > 17:
        raise Refused("has another meaning there")


_REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"

# Operators that are not here are the same in both opsets, but for attributes at their defaults.
REWRITES: Mapping[str, Callable[[Site], None]] = {
    **{f"Reduce{kind}": _reduce for kind in _REDUCTIONS.split()},
    "AveragePool": _pool,
    "Cast": _cast,
    "CastLike": _cast,
    "Constant": _constant,
    "DFT": _newer,
    "Gather": _gather,
    "GatherElements": _gather,
    "Gelu": _gelu,
    "GridSample": _grid_sample,
    "GroupNormalization": _group_norm,
    "Hardmax": _hardmax,
    "LpPool": _pool,
    "Mish": _mish,
    "Optional": _newer,
    "OptionalGetElement": _newer,
    "OptionalHasElement": _newer,
    "Pad": _pad,
    "QuantizeLinear": _quantize,
    "Reshape": _reshape,
    "Resize": _resize,
    "RoiAlign": _roi_align,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
    "Split": _split,
    "Squeeze": _squeeze,
    "Swish": _swish,
    "Unsqueeze": _squeeze,
}
