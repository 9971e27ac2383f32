"""Makes torch's TorchScript exporter write the nodes that its other exporter writes.

`tvmkd.export` uses the other one, and kernels have other keys if so much as the terms of an
addition are swapped. What a function here does not know it refuses; then the other exporter is
used.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.onnx import symbolic_opset9, utils

OPSET = 18
"""The operator set of these functions."""


@contextlib.contextmanager
def replaced() -> Iterator[None]:
    """The exporter uses the functions of this module while the block runs."""
    own: dict[str, Callable[..., Any]] = {
        "aten::linear": linear,
        "prim::ConstantChunk": chunk,
        "aten::adaptive_avg_pool2d": mean_of_image,
        "aten::expand": expand,
        "aten::size": size,
        "aten::unbind": unbind,
        "aten::scaled_dot_product_attention": attention,
    }
    for name, function in own.items():
        utils.register_custom_op_symbolic(name, function, OPSET)
    try:
        yield
    finally:
        for name in own:
            utils.unregister_custom_op_symbolic(name, OPSET)


def linear(g: Any, x: Any, weight: Any, bias: Any) -> Any:
    """The bias is the second term of the addition."""
    has_bias = not _absent(bias)
    if has_bias and len(_sizes(g, 0)) == 2:
        return g.op("Gemm", x, weight, bias, transB_i=1)
    product = g.op("MatMul", x, g.op("Transpose", weight, perm_i=[1, 0]))
    return g.op("Add", product, bias) if has_bias else product


def chunk(g: Any, x: Any, chunks: int, dim: int) -> Any:
    """One ``Split`` in place of a slice for each part."""
    parts = g.op("Split", x, axis_i=dim, num_outputs_i=chunks, outputs=chunks)
    return parts if chunks > 1 else [parts]


def mean_of_image(g: Any, x: Any, size: Any) -> Any:
    """A mean, whose elements are gathered again where channels come last in memory.

    That is what torch makes of the strides that its own pooling gives to the result.

    Raises:
        NotImplementedError: for a pooling to more than one element.
    """
    if list(g.original_node.output().type().sizes() or [])[-2:] != [1, 1]:
        raise NotImplementedError("a pooling to more than one element")
    axes = g.op("Constant", value_t=torch.tensor([-1, -2]))
    mean = g.op("ReduceMean", x, axes, keepdims_i=1)
    sizes, strides = _sizes(g, 0), next(iter(g.original_node.inputs())).type().strides()
    image = torch.empty_strided(sizes, strides, device="meta")
    last = len(sizes) == 4 and image.is_contiguous(memory_format=torch.channels_last)
    if image.is_contiguous() or not last:
        return mean
    places = torch.arange(sizes[0] * sizes[1]).reshape(sizes[0], sizes[1], 1, 1)
    flat = g.op("Reshape", mean, g.op("Constant", value_t=torch.tensor([-1])))
    return g.op("Gather", flat, g.op("Constant", value_t=places), axis_i=0)


def unbind(g: Any, x: Any, dim: Any, _outputs: int | None = None) -> Any:
    """The slices that stand for one ``Split``: one slice for each part.

    Raises:
        NotImplementedError: the parts are used as a list.
    """
    if _outputs is None:
        raise NotImplementedError("a list of tensors")
    axis = _constant(dim) % len(_sizes(g, 0))

    def constant(value: int) -> Any:
        return g.op("Constant", value_t=torch.tensor([value]))

    ends = [(constant(number), constant(number + 1)) for number in range(_outputs)]
    slices = [g.op("Slice", x, begin, end, constant(axis)) for begin, end in ends]
    return [g.op("Squeeze", part, constant(axis)) for part in slices]


def size(g: Any, x: Any, dim: Any = None) -> Any:
    """Sizes are constants: networks are traced for one shape."""
    try:
        found = torch.tensor(_sizes(g, 0))
    except NotImplementedError:  # inside of what becomes one node later
        return symbolic_opset9.size(g, x, dim)
    return g.op("Constant", value_t=found if _absent(dim) else found[_constant(dim)])


def expand(g: Any, x: Any, sizes: Any, implicit: Any) -> Any:
    """To constant sizes."""
    sizes = g.original_node.output().type().sizes()
    if sizes is None:
        raise NotImplementedError("an unknown shape")
    return g.op("Expand", x, g.op("Constant", value_t=torch.tensor(sizes)))


def attention(
    g: Any,
    query: Any,
    key: Any,
    value: Any,
    mask: Any,
    dropout: Any,
    causal: Any,
    scale: Any,
    grouped: Any = None,
) -> Any:
    """The last two axes of the keys are swapped in three dimensions.

    Raises:
        NotImplementedError: for a causal or Boolean mask, a given scale, or groups of queries.
    """
    *first, tokens, features = _sizes(g, 1)
    if len(first) != 2 or first[1] != _sizes(g, 0)[1] or not _absent(scale) or _constant(causal):
        raise NotImplementedError("attention")
    if not _absent(mask) and mask.type().scalarType() != "Float":
        raise NotImplementedError("attention with a mask that is not added")

    def reshaped(x: Any, *sizes: int) -> Any:
        return g.op("Reshape", x, g.op("Constant", value_t=torch.tensor(sizes)))

    turned = g.op("Transpose", reshaped(key, -1, tokens, features), perm_i=[0, 2, 1])
    turned = reshaped(turned, *first, features, tokens)
    root = g.op("Constant", value_t=torch.tensor([math.sqrt(1 / math.sqrt(features))]))
    scores = g.op("MatMul", g.op("Mul", query, root), g.op("Mul", turned, root))
    if not _absent(mask):
        scores = g.op("Add", scores, mask)
    return g.op("MatMul", g.op("Softmax", scores, axis_i=-1), value)


def _sizes(g: Any, number: int) -> Sequence[int]:
    """The shape of an input of the operator as it was traced.

    Raises:
        NotImplementedError: it is not known.
    """
    found: Sequence[int] | None = list(g.original_node.inputs())[number].type().sizes()
    if found is None:
        raise NotImplementedError("an unknown shape")
    return found


def _absent(value: Any) -> bool:
    return value is None or bool(value.node().mustBeNone())


def _constant(value: Any) -> int:
    """The value of an argument that is a constant integer or Boolean."""
    node = value.node()
    return int(node.t("value") if node.kind() == "onnx::Constant" else node.i("value"))
