"""Normalisations: over the last axes, over groups, by a norm."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from tvmkd.export.rewrites.function_bodies import function_body
from tvmkd.export.rewrites.integers import given
from tvmkd.export.rewrites.plain import cast, constant_like, give, reduce, reshape, transpose
from tvmkd.export.site import Refused, Site

_SINGLE = {TensorProto.FLOAT16, TensorProto.BFLOAT16}


def normalised(
    site: Site, data: str, axis: int, epsilon: float, centre: bool = True
) -> tuple[str, str, str]:
    """A tensor over its root mean square, or its standard deviation, from ``axis`` on.

    Returns:
        the result, the mean ("" without ``centre``), and one over the root; half precision is
        computed, and the last two are given, in float32.
    """
    axes = list(range(axis, len(site.sizes_of(data))))
    kind = site.elem_type_of(data)
    wide = cast(site, data, TensorProto.FLOAT) if kind in _SINGLE else data
    mean = ""
    if centre:
        mean = reduce(site, "Mean", wide, axes)
        wide = site.add("Sub", [wide, mean])
    square = reduce(site, "Mean", site.add("Mul", [wide, wide]), axes)
    root = site.add("Sqrt", [site.add("Add", [square, constant_like(site, epsilon, square)])])
    inverse = site.add("Reciprocal", [root])
    return cast(site, site.add("Mul", [wide, inverse]), kind), mean, inverse


def layer_norm(site: Site, data: str, scale: str, bias: str, axis: int, epsilon: float) -> str:
    """``LayerNormalization``, by parts where the opset has none."""
    if site.scope.target >= 17:
        inputs = [data, scale, *([bias] if bias else [])]
        return site.add("LayerNormalization", inputs, axis=axis, epsilon=epsilon)
    rank = len(site.sizes_of(data))
    result = site.add("Mul", [normalised(site, data, axis % rank, epsilon)[0], scale])
    return site.add("Add", [result, bias]) if bias else result


def layer_normalization(site: Site) -> None:
    """``LayerNormalization`` by parts where its mean or deviation is asked for, or before 17.

    https://onnx.ai/onnx/operators/onnx__LayerNormalization.html
    """
    extra = any(site.node.output[1:])
    if site.scope.target >= 17 and not extra:
        del site.node.output[1:]
        return
    axis = site.attribute("axis", -1) % len(site.sizes())
    data = given(site, 0)
    result, mean, inverse = normalised(site, data, axis, site.attribute("epsilon", 1e-5))
    result = site.add("Mul", [result, given(site, 1)])
    if site.has(2):
        result = site.add("Add", [result, given(site, 2)])
    give(site, result, mean, inverse)


def rms_normalization(site: Site) -> None:
    """``SimplifiedLayerNormalization`` of ONNX Runtime: what ONNX calls RMSNormalization."""
    axis = site.attribute("axis", -1) % len(site.sizes())
    result, _, inverse = normalised(
        site, given(site, 0), axis, site.attribute("epsilon", 1e-5), centre=False
    )
    give(site, site.add("Mul", [result, given(site, 1)]), inverse)


def whole_rms_normalization(site: Site) -> None:
    """``RMSNormalization`` over all axes, which TVM cannot compile; over some it stays.

    https://onnx.ai/onnx/operators/onnx__RMSNormalization.html
    """
    axis = site.attribute("axis", -1) % len(site.sizes())
    if axis:
        return
    epsilon = site.attribute("epsilon", 1e-5)
    result, _, _ = normalised(site, given(site, 0), 0, epsilon, centre=False)
    site.become("Mul", [result, given(site, 1)])


def skip_layer_norm(site: Site) -> None:
    """``SkipLayerNormalization``: of the sum of two tensors and a bias; the sum is an output."""
    total = site.add("Add", [given(site, 0), given(site, 1)])
    if site.has(4):
        total = site.add("Add", [total, given(site, 4)])
    epsilon = site.attribute("epsilon", 1e-12)
    if any(site.node.output[1:3]):
        raise Refused("has its mean or deviation as an output")
    result = layer_norm(site, total, given(site, 2), given(site, 3), -1, epsilon)
    give(site, result, "", "", total)


def skip_rms_norm(site: Site) -> None:
    """``SkipSimplifiedLayerNormalization``: the same by the root mean square."""
    total = site.add("Add", [given(site, 0), given(site, 1)])
    if site.has(3):
        total = site.add("Add", [total, given(site, 3)])
    if any(site.node.output[1:3]):
        raise Refused("has its mean or deviation as an output")
    last = len(site.sizes_of(total)) - 1
    result, _, _ = normalised(site, total, last, site.attribute("epsilon", 1e-12), centre=False)
    give(site, site.add("Mul", [result, given(site, 2)]), "", "", total)


def embed_layer_norm(site: Site) -> None:
    """``EmbedLayerNormalization``: the sum of two or three embeddings, normalised."""
    ids, segments, words, places, kinds, scale, bias = (given(site, index) for index in range(7))
    length = site.sizes()[1]
    total = site.add("Gather", [words, ids], axis=0)
    if site.has(8):
        place = site.add("Gather", [places, given(site, 8)], axis=0)
    else:
        place = site.add("Gather", [places, site.constant(np.arange(length))], axis=0)
    total = site.add("Add", [total, place])
    if segments:
        total = site.add("Add", [total, site.add("Gather", [kinds, segments], axis=0)])
    count = ""
    if len(site.node.output) > 1 and site.node.output[1]:
        if site.has(7):
            count = reduce(site, "Sum", given(site, 7), [1], keepdims=False)
        else:
            count = site.constant(np.zeros(site.sizes()[0], np.int32))
    result = layer_norm(site, total, scale, bias, -1, site.attribute("epsilon", 1e-12))
    give(site, result, count, total)


def group_norm(site: Site) -> None:
    """``GroupNorm`` and ``SkipGroupNorm`` of ONNX Runtime, channels last, with SiLU behind it."""
    data = given(site, 0)
    total = ""
    if site.node.op_type == "SkipGroupNorm":
        skip = given(site, 3)
        shape = site.sizes()
        if len(site.sizes_of(skip)) == 2:
            skip = reshape(site, skip, [shape[0], 1, 1, shape[3]])
        total = site.add("Add", [data, skip])
        if site.has(4):
            total = site.add("Add", [total, given(site, 4)])
        data = total
    last = bool(site.attribute("channels_last", 1))
    if last:
        data = transpose(site, data, 0, 3, 1, 2)
    shape = site.sizes_of(data)
    grouped = reshape(site, data, [shape[0], site.attribute("groups"), -1])
    kind = site.elem_type_of(data)
    normal, _, _ = normalised(site, grouped, 2, site.attribute("epsilon", 1e-5))
    result = cast(site, reshape(site, normal, shape), TensorProto.FLOAT)
    for operator, index in (("Mul", 1), ("Add", 2)):
        side = cast(site, reshape(site, given(site, index), [-1, 1, 1]), TensorProto.FLOAT)
        result = site.add(operator, [result, side])
    if site.attribute("activation", 0):
        result = site.add("Mul", [result, site.add("Sigmoid", [result])])
    result = cast(site, result, kind)
    give(site, transpose(site, result, 0, 2, 3, 1) if last else result, total)


def lp_normalization(site: Site) -> None:
    """``LpNormalization``: over the sum of magnitudes or the root of the sum of squares.

    https://onnx.ai/onnx/operators/onnx__LpNormalization.html
    """
    kind = {1: "L1", 2: "L2"}[site.attribute("p", 2)]
    data = given(site, 0)
    norm = reduce(site, kind, data, [site.attribute("axis", -1) % len(site.sizes())])
    # A row of zeros stays one.
    none = constant_like(site, 0, data)
    safe = site.add("Where", [site.add("Equal", [norm, none]), constant_like(site, 1, data), norm])
    site.become("Div", [data, safe])


def local_response(site: Site) -> None:
    """``LRN`` of an even size, whose window is one longer to the right.

    https://onnx.ai/onnx/operators/onnx__LRN.html
    """
    size = site.attribute("size")
    if size % 2:
        return
    data, shape = given(site, 0), site.sizes()
    before, after = (size - 1) // 2, size // 2
    # A band matrix adds the neighbours: 1 where one channel is in another's window.
    place = np.arange(shape[1])
    apart = place[None, :] - place[:, None]
    band = constant_like(site, (apart >= -before) & (apart <= after), data)
    flat = reshape(site, site.add("Mul", [data, data]), [shape[0], shape[1], -1])
    total = reshape(site, site.add("MatMul", [band, flat]), shape)
    factor = constant_like(site, site.attribute("alpha", 1e-4) / size, data)
    base = constant_like(site, site.attribute("bias", 1.0), data)
    whole = site.add("Add", [site.add("Mul", [total, factor]), base])
    power = site.add("Pow", [whole, constant_like(site, site.attribute("beta", 0.75), data)])
    site.become("Div", [data, power])


def group_normalization(site: Site) -> None:
    """``GroupNormalization``: one number a group before opset 21, one a channel since.

    https://onnx.ai/onnx/operators/onnx__GroupNormalization.html
    """
    if site.scope.target < 21:
        function_body(site)
        return
    data, shape = given(site, 0), site.sizes()
    kind = site.elem_type()
    grouped = reshape(site, data, [shape[0], site.attribute("num_groups"), -1])
    normal, _, _ = normalised(site, grouped, 2, site.attribute("epsilon", 1e-5))
    result = reshape(site, normal, shape)
    column = [-1] + [1] * (len(shape) - 2)
    scale, bias = (reshape(site, given(site, index), column) for index in (1, 2))
    site.become("Add", [site.add("Mul", [cast(site, result, kind), scale]), bias])


def batch_normalization(site: Site) -> None:
    """``BatchNormalization`` in training: by the batch's own mean and variance.

    https://onnx.ai/onnx/operators/onnx__BatchNormalization.html
    """
    if not site.attribute("training_mode", 0):
        return
    data, shape = given(site, 0), site.sizes()
    axes = [0, *range(2, len(shape))]
    column = [1, -1] + [1] * (len(shape) - 2)
    mean = reduce(site, "Mean", data, axes)
    apart = site.add("Sub", [data, mean])
    variance = reduce(site, "Mean", site.add("Mul", [apart, apart]), axes)
    epsilon = constant_like(site, site.attribute("epsilon", 1e-5), data)
    root = site.add("Sqrt", [site.add("Add", [variance, epsilon])])
    scale, bias = (reshape(site, given(site, index), column) for index in (1, 2))
    result = site.add("Add", [site.add("Mul", [site.add("Div", [apart, root]), scale]), bias])
    momentum = site.attribute("momentum", 0.9)
    running = []
    for index, found in ((3, mean), (4, variance)):
        old = given(site, index)
        kept = site.add("Mul", [old, constant_like(site, momentum, old)])
        fresh = reshape(site, cast(site, found, site.elem_type(index)), [-1])
        added = site.add("Mul", [fresh, constant_like(site, 1 - momentum, old)])
        running.append(site.add("Add", [kept, added]))
    give(site, result, *running)
