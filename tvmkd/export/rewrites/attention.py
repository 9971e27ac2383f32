"""ONNX's Attention, and ONNX Runtime's own and MultiHeadAttention, in matrix products.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from tvmkd.export.rewrites.function_bodies import function_body
from tvmkd.export.rewrites.integers import given
from tvmkd.export.rewrites.plain import (
    cast,
    concat,
    constant_like,
    cut,
    give,
    parts,
    reshape,
    squeeze,
    transpose,
    unsqueeze,
)
from tvmkd.export.site import Refused, Site


def _heads(site: Site, data: str, heads: int) -> str:
    """[batch, length, width] as [batch, heads, length, width / heads]."""
    batch, length, _ = site.sizes_of(data)
    return transpose(site, reshape(site, data, [batch, length, heads, -1]), 0, 2, 1, 3)


def _attend(site: Site, query: str, key: str, value: str, bias: list[str]) -> str:
    """[batch, heads, length, size] each, and so is the result."""
    size = site.sizes_of(query)[-1]
    scale = site.attribute("scale", 0.0) or 1 / math.sqrt(size)
    query = site.add("Mul", [query, constant_like(site, scale, query)])
    scores = site.add("MatMul", [query, transpose(site, key, 0, 1, 3, 2)])
    for each in bias:
        scores = site.add("Add", [scores, each])
    weights = site.add("Softmax", [scores], axis=-1)
    return site.add("MatMul", [weights, value])


def _joined(site: Site, data: str) -> str:
    """[batch, heads, length, size] as [batch, length, heads * size]."""
    batch, heads, length, size = site.sizes_of(data)
    return reshape(site, transpose(site, data, 0, 2, 1, 3), [batch, length, heads * size])


def _causal(site: Site, length: int, total: int, like: str) -> str:
    """What is added so that no position sees a later one: [length, total]."""
    later = np.triu(np.ones((length, total), bool), total - length + 1)
    return constant_like(site, np.where(later, _filter(site), 0.0), like)


def _filter(site: Site) -> float:
    """What is added to the score of a key that is not to be seen."""
    return float(site.attribute("mask_filter_value", -10000.0))


def _hidden(site: Site, mask: str, like: str, batch: int, length: int, total: int) -> str:
    """What a mask adds to the scores.

    Args:
        site: the node.
        mask: [batch] or [2 * batch], where the keys of each end (and begin); or 1 for a key to be
            seen and 0 otherwise: [batch, total] or [batch, length, total].
        like: a tensor of the type of the scores.
        batch, length, total: sizes of the batch, of the queries and of the keys.
    """
    shape = site.sizes_of(mask)
    if len(shape) == 1:
        if shape not in {(batch,), (2 * batch,)}:
            raise Refused("has a mask whose shape is neither [batch] nor [2 * batch]")
        place = site.constant(np.arange(total, dtype=np.int32)[None])
        seen = site.add("Less", [place, reshape(site, cut(site, mask, 0, 0, batch), [batch, 1])])
        if shape == (2 * batch,) and batch:
            first = reshape(site, cut(site, mask, 0, batch, 2 * batch), [batch, 1])
            seen = site.add("And", [seen, site.add("Not", [site.add("Less", [place, first])])])
        visible = reshape(site, seen, [batch, 1, 1, total])
    elif shape in {(batch, total), (batch, length, total)}:
        flags = cast(site, mask, TensorProto.BOOL)
        rows = 1 if len(shape) == 2 else length
        visible = reshape(site, flags, [batch, 1, rows, total])
    else:
        raise Refused(f"has a mask of shape {list(shape)}")
    no, yes = (constant_like(site, value, like) for value in (_filter(site), 0.0))
    return site.add("Where", [visible, yes, no])


# The mode is that of an output that is not used here.
_KNOWN = {"is_causal", "kv_num_heads", "q_num_heads", "qk_matmul_output_mode", "scale", "softcap"}


def onnx_attention(site: Site) -> None:
    """``Attention`` of ONNX: two products and a softmax if it has no past; other forms by ONNX's
    own definition, which is longer.

    https://onnx.ai/onnx/operators/onnx__Attention.html
    """
    shapes = [site.sizes(index) for index in range(3)]
    heads = [site.attribute("q_num_heads"), *[site.attribute("kv_num_heads")] * 2]
    plain = (
        not any(site.has(index) for index in range(4, 7))
        and not any(site.node.output[1:])
        and {entry.name for entry in site.node.attribute} <= _KNOWN
        and not site.attribute("softcap", 0.0)
        and site.elem_type() == TensorProto.FLOAT
    )
    if not plain:
        function_body(site)
        return
    flat = len(shapes[0]) == 3
    sides = [
        _heads(site, name, count) if flat else name
        for name, count in zip(site.node.input, heads, strict=False)
    ]
    query, key, _ = (site.sizes_of(name) for name in sides)
    if query[1] != key[1]:
        function_body(site)
        return
    bias = []
    if site.has(3):
        mask = site.node.input[3]
        if site.sizes(3)[-1:] != (key[2],):  # of opset 24: shorter, the rest is not seen
            function_body(site)
            return
        if site.elem_type(3) == TensorProto.BOOL:
            yes, no = (constant_like(site, value, sides[0]) for value in (0.0, -np.inf))
            mask = site.add("Where", [mask, yes, no])
        bias.append(mask)
    if site.attribute("is_causal", 0):
        later = np.triu(np.ones((query[2], key[2]), bool), 1)
        bias.append(constant_like(site, np.where(later, -np.inf, 0.0), sides[0]))
    result = _attend(site, sides[0], sides[1], sides[2], bias)
    give(site, _joined(site, result) if flat else result)


def attention(site: Site) -> None:
    """``Attention`` of com.microsoft: queries, keys and values from one input and one matrix.

    Raises:
        Refused: it rotates, or its mask has a form that is not known here.
    """
    if site.attribute("do_rotary", 0):
        raise Refused("has do_rotary=1")
    heads = site.attribute("num_heads")
    data = given(site, 0)
    batch, length, _ = site.sizes()
    width = site.sizes(1)[1]
    widths = list(site.attribute("qkv_hidden_sizes") or [width // 3] * 3)
    joined = site.add("MatMul", [data, given(site, 1)])
    if site.has(2):
        joined = site.add("Add", [joined, given(site, 2)])
    query, key, value = (_heads(site, part, heads) for part in parts(site, joined, 2, widths))
    present = ""
    if site.has(4):
        old = parts(site, given(site, 4), 0, [1, 1])
        key, value = (
            concat(site, [squeeze(site, past, 0), new], 2)
            for past, new in zip(old, (key, value), strict=True)
        )
    if len(site.node.output) > 1 and site.node.output[1]:
        present = concat(site, [unsqueeze(site, name, 0) for name in (key, value)], 0)
    total = site.sizes_of(key)[2]
    bias = []
    if site.has(3):
        bias.append(_hidden(site, given(site, 3), data, batch, length, total))
    if site.attribute("unidirectional", 0):
        bias.append(_causal(site, length, total, data))
    if site.has(5):
        bias.append(given(site, 5))
    give(site, _joined(site, _attend(site, query, key, value, bias)), present)


def multi_head_attention(site: Site) -> None:
    """``MultiHeadAttention`` of com.microsoft: queries, keys and values by themselves or packed.

    Raises:
        Refused: its past is in a buffer that is shared, or its mask has a form not known here.
    """
    if site.has(8) or site.has(9):
        raise Refused("has its past and present in one shared buffer")
    heads = site.attribute("num_heads")
    names = [given(site, index) for index in range(3)]
    shapes = [site.sizes_of(name) if name else () for name in names]
    bias = given(site, 3)
    if len(shapes[0]) == 5:
        # [batch, length, heads, 3, size]
        cuts = [squeeze(site, part, 3) for part in parts(site, names[0], 3, [1, 1, 1])]
        names = [transpose(site, part, 0, 2, 1, 3) for part in cuts]
    elif len(shapes[1]) == 5:
        # [batch, length, heads, 2, size]
        cuts = [squeeze(site, part, 3) for part in parts(site, names[1], 3, [1, 1])]
        names[1:] = [transpose(site, part, 0, 2, 1, 3) for part in cuts]
    if not all(names):
        raise Refused("has queries without keys or values")
    if bias:
        widths = [_width(site, name) for name in names]
        names = [
            _add_bias(site, name, part, heads)
            for name, part in zip(names, parts(site, bias, 0, widths), strict=True)
        ]
    query, key, value = (
        name if len(site.sizes_of(name)) == 4 else _heads(site, name, heads) for name in names
    )
    if site.has(6):
        key, value = (
            concat(site, [given(site, index), new], 2) for index, new in ((6, key), (7, value))
        )
    batch, _, length, _ = site.sizes_of(query)
    total = site.sizes_of(key)[2]
    added = []
    if site.has(4):
        added.append(_hidden(site, given(site, 4), query, batch, length, total))
    if site.attribute("unidirectional", 0):
        added.append(_causal(site, length, total, query))
    if site.has(5):
        added.append(given(site, 5))
    if len(site.node.output) > 3 and site.node.output[3]:
        raise Refused("has its scores as an output")
    give(site, _joined(site, _attend(site, query, key, value, added)), key, value)


def _width(site: Site, name: str) -> int:
    shape = site.sizes_of(name)
    return shape[2] if len(shape) == 3 else shape[1] * shape[3]


def _add_bias(site: Site, data: str, bias: str, heads: int) -> str:
    if len(site.sizes_of(data)) == 3:
        return site.add("Add", [data, bias])
    return site.add("Add", [data, reshape(site, bias, [1, heads, 1, -1])])
