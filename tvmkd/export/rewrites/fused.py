"""ONNX Runtime's fused operators (com.microsoft) on real numbers, in plain ones.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tvmkd.export.rewrites.integers import attributes, given
from tvmkd.export.rewrites.plain import constant_like, cut, give, parts, transpose
from tvmkd.export.site import Refused, Site


def gelu(site: Site) -> None:
    """``Gelu`` and ``BiasGelu``: by the error function."""
    data = _with_bias(site, 1) if site.node.op_type == "BiasGelu" else given(site, 0)
    site.become("Identity", [_gelu(site, data)])


def _gelu(site: Site, data: str) -> str:
    bent = site.add("Erf", [site.add("Mul", [data, constant_like(site, math.sqrt(0.5), data)])])
    weight = site.add("Add", [bent, constant_like(site, 1, data)])
    return site.add("Mul", [site.add("Mul", [data, constant_like(site, 0.5, data)]), weight])


def fast_gelu(site: Site) -> None:
    """``FastGelu``: by the hyperbolic tangent, of the sum with a bias."""
    data = _with_bias(site, 1)
    cube = site.add("Mul", [site.add("Mul", [data, data]), data])
    small = site.add("Mul", [cube, constant_like(site, 0.044715, data)])
    inner = site.add("Add", [data, small])
    scaled = site.add("Mul", [inner, constant_like(site, math.sqrt(2 / math.pi), data)])
    weight = site.add("Add", [site.add("Tanh", [scaled]), constant_like(site, 1, data)])
    site.become("Mul", [site.add("Mul", [data, constant_like(site, 0.5, data)]), weight])


def quick_gelu(site: Site) -> None:
    """``QuickGelu``: x * sigmoid(alpha * x)."""
    data = given(site, 0)
    alpha = constant_like(site, site.attribute("alpha", 1.702), data)
    site.become("Mul", [data, site.add("Sigmoid", [site.add("Mul", [data, alpha])])])


def bias_split_gelu(site: Site) -> None:
    """``BiasSplitGelu``: the first half times the Gelu of the second one."""
    data = _with_bias(site, 1)
    width = site.sizes()[-1] // 2
    first, second = parts(site, data, len(site.sizes()) - 1, [width, width])
    site.become("Mul", [first, _gelu(site, second)])


def bias_add(site: Site) -> None:
    """``BiasAdd``: X + bias + skip."""
    site.become("Add", [_with_bias(site, 1), given(site, 2)])


def _with_bias(site: Site, index: int) -> str:
    data = given(site, 0)
    return site.add("Add", [data, given(site, index)]) if site.has(index) else data


def fused_matmul(site: Site) -> None:
    """``FusedMatMul``: alpha times a product, each side transposed in its last two axes or in its
    batch axes.
    """
    names = []
    for index, side in enumerate("AB"):
        name = given(site, index)
        rank = len(site.sizes_of(name))
        order = list(range(rank))
        if site.attribute(f"transBatch{side}", 0) and rank > 2:
            order = [*order[1 : rank - 1], 0, rank - 1]
        if site.attribute(f"trans{side}", 0) and rank > 1:
            order[-2:] = order[:-3:-1]
        names.append(name if order == [*range(rank)] else transpose(site, name, *order))
    alpha = site.attribute("alpha", 1.0)
    if alpha == 1:
        site.become("MatMul", names)
        return
    product = site.add("MatMul", names)
    site.become("Mul", [product, constant_like(site, alpha, product)])


_PARAMETERS = {"LeakyRelu": ["alpha"], "HardSigmoid": ["alpha", "beta"], "Elu": ["alpha"]}


def _activated(site: Site, data: str, parameters: list[float]) -> str:
    name = site.attribute("activation")
    if not name:
        return data
    if name == "Clip":
        low, high = (constant_like(site, value, data) for value in parameters)
        return site.add("Clip", [data, low, high])
    if name == "HardSwish" and site.scope.target < 14:
        gate = site.add("HardSigmoid", [data], alpha=1 / 6, beta=0.5)
        return site.add("Mul", [data, gate])
    numbers = dict(zip(_PARAMETERS.get(name, []), parameters, strict=False))
    return site.add(name, [data], **numbers)


def fused_conv(site: Site) -> None:
    """``FusedConv``: Conv, the sum with another tensor, an activation."""
    options = attributes(site, "activation", "activation_params")
    count = 3 if site.has(2) else 2
    data = site.add("Conv", list(site.node.input[:count]), **options)
    if site.has(3):
        data = site.add("Add", [data, given(site, 3)])
    parameters = list(site.attribute("activation_params", ()))
    site.become("Identity", [_activated(site, data, parameters)])


def fused_gemm(site: Site) -> None:
    """``FusedGemm``: Gemm and an activation."""
    mine = ("activation", "activation_alpha", "activation_beta", "activation_gamma")
    data = site.add("Gemm", list(site.node.input), **attributes(site, *mine))
    found = [site.attribute(name) for name in mine[1:]]
    site.become("Identity", [_activated(site, data, [x for x in found if x is not None])])


def channels_last(operator: str) -> Callable[[Site], None]:
    """``NhwcConv``, ``NhwcMaxPool``: with the channels last."""

    def lowering(site: Site) -> None:
        rank = len(site.sizes())
        data = transpose(site, given(site, 0), 0, rank - 1, *range(1, rank - 1))
        inputs = [data, *site.node.input[1:]]
        if operator == "Conv":
            # So do the weights: [out, height, width, in].
            inputs[1] = transpose(site, inputs[1], 0, rank - 1, *range(1, rank - 1))
        result = site.add(operator, inputs, **attributes(site))
        site.become("Transpose", [result], perm=[0, *range(2, rank), 1])

    return lowering


def renamed(operator: str) -> Callable[[Site], None]:
    """An operator of com.microsoft that ONNX has by now, or under another name."""

    def lowering(site: Site) -> None:
        site.become(operator, list(site.node.input), **attributes(site))

    return lowering


def inverse_of_expand(site: Site) -> None:
    """``ExpandDims``: Unsqueeze by an axis that is a tensor."""
    axis = site.value(1)
    if axis is None:
        raise Refused("has an axis that is not constant")
    site.become("Unsqueeze", [given(site, 0), site.constant([int(axis.reshape(-1)[0])])])


def rotary(site: Site) -> None:
    """``RotaryEmbedding``: pairs of numbers turned by an angle for each position.

    Input [batch, length, width] or [batch, heads, length, size], then position_ids [1] (of the
    first one) or [batch, length], and cosines and sines [positions, size / 2].
    """
    data, shape = given(site, 0), site.sizes()
    batch, cosines = shape[0], site.sizes(2)
    partial = site.attribute("rotary_embedding_dim", 0)
    if len(shape) == 3:
        length = shape[1]
        heads = site.attribute("num_heads", 0)
        size = shape[2] // heads if heads else cosines[1] * 2
        split = site.add("Reshape", [data, site.constant([batch, length, -1, size])])
        data = transpose(site, split, 0, 2, 1, 3)
    else:
        length, size = shape[2], shape[3]
    turned = partial or size
    places = given(site, 1)
    if site.sizes(1) == (1,) or site.sizes(1) == ():
        places = site.add("Add", [places, site.constant(np.arange(length)[None])])
    angles = [
        site.add("Unsqueeze", [site.add("Gather", [name, places], axis=0), site.constant([1])])
        for name in (given(site, 2), given(site, 3))
    ]
    kept = []
    if turned < size:
        kept = [cut(site, data, 3, turned, size)]
        data = cut(site, data, 3, 0, turned)
    result = _turn(site, data, angles, turned, bool(site.attribute("interleaved", 0)))
    if kept:
        result = site.add("Concat", [result, *kept], axis=3)
    if len(shape) == 3:
        result = site.add("Reshape", [transpose(site, result, 0, 2, 1, 3), site.constant(shape)])
    give(site, result)


def _turn(site: Site, data: str, angles: list[str], size: int, interleaved: bool) -> str:
    half = size // 2
    shape = site.sizes_of(data)
    if interleaved:
        pairs = site.add("Reshape", [data, site.constant([*shape[:3], half, 2])])
        sides = parts(site, pairs, 4, [1, 1])
        first, second = (site.add("Squeeze", [name, site.constant([4])]) for name in sides)
    else:
        first, second = parts(site, data, 3, [half, half])
    cosine, sine = angles

    def product(one: str, other: str) -> str:
        return site.add("Mul", [one, other])

    left = site.add("Sub", [product(first, cosine), product(second, sine)])
    right = site.add("Add", [product(first, sine), product(second, cosine)])
    if not interleaved:
        return site.add("Concat", [left, right], axis=3)
    sides = [site.add("Unsqueeze", [name, site.constant([4])]) for name in (left, right)]
    return site.add("Reshape", [site.add("Concat", sides, axis=4), site.constant(shape)])
