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
from torch.onnx import utils

OPSET = 18
"""The operator set of these functions."""


@contextlib.contextmanager
def replaced() -> Iterator[None]:
    """The exporter uses the functions of this module while the block runs."""
    own: dict[str, Callable[..., Any]] = {
        "aten::linear": linear,
        "prim::ConstantChunk": chunk,
        "aten::expand": expand,
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


def expand(g: Any, x: Any, size: Any, implicit: Any) -> Any:
    """The sizes are constants: networks are traced for one shape."""
    sizes = g.original_node.output().type().sizes()
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
    if len(first) != 2 or first[1] != _sizes(g, 0)[1] or not _absent(scale) or _true(causal):
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
    """The shape of an input of the operator as it was traced."""
    found: Sequence[int] = list(g.original_node.inputs())[number].type().sizes()
    return found


def _absent(value: Any) -> bool:
    return value is None or bool(value.node().mustBeNone())


def _true(value: Any) -> bool:
    """Whether a constant argument is true."""
    node = value.node()
    return (
        bool(node.t("value").item()) if node.kind() == "onnx::Constant" else bool(node.i("value"))
    )
