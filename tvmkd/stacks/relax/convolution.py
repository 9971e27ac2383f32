"""Emits the kernels of a convolution with constant weights, channels last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvmkd.stacks.relax import kernels, winograd, winograd_cost
from tvmkd.stacks.relax.templates.cpu import Cpu

Image = Callable[[], relax.Expr]
"""Gives an input channels last; asked only if a kernel is made, since that may transpose it."""
INJECTIVE = {"op_pattern": 2}
"""Relax's kInjective: elementwise operators behind it are fused, and it into them."""


def convolution(
    builder: relax.BlockBuilder,
    x: Image,
    weight: np.ndarray,
    attrs: Any,
    images: int,
    out: list[int],
    cpu: Cpu,
) -> relax.Expr | None:
    """A convolution; None if no kernel of ours computes it.

    Args:
        x: gives its input ``[N, *sizes, IC]``.
        weight: ``[OC, IC/groups, *kernel]``, float32.
        attrs: of the Relax operator.
        images: of a batch.
        out: sizes of the output's spatial axes.
        cpu: of the target.
    """
    strides, dilation = _ints(attrs.strides), _ints(attrs.dilation)
    pads, groups, channels = _ints(attrs.padding), int(attrs.groups), weight.shape[0]
    if len(out) == 2:
        tile = winograd_cost.tile_for(weight.shape, out, strides, dilation, groups, cpu, images)
        if tile is not None:
            return _winograd(builder, x(), weight, pads, out, tile, cpu.lanes)
    rank = f"{len(out)}d"
    if groups > 1 and weight.shape[1] == 1:
        taps = np.ascontiguousarray(np.moveaxis(weight[:, 0], 0, -1))
        return builder.emit_te(
            kernels.depthwise, x(), relax.const(taps), strides, pads, dilation,
            primfunc_name_hint=f"depthwise_conv{rank}", primfunc_attrs=kernels.FUSABLE,
        )  # fmt: skip
    return _packed(builder, x, weight, strides, pads, dilation, groups, channels, rank, cpu.lanes)


def _packed(
    builder: relax.BlockBuilder,
    x: Image,
    weight: np.ndarray,
    strides: list[int],
    pads: list[int],
    dilation: list[int],
    groups: int,
    channels: int,
    rank: str,
    widest: int,
) -> relax.Expr | None:
    lanes = kernels.lanes_for(channels // groups, widest)
    if groups > 1:
        merged = kernels.merged_groups(weight, groups, lanes)
        if merged is None:
            return None
        weight, groups = merged
    return builder.emit_te(
        kernels.convolution, x(), relax.const(kernels.pack(weight, lanes)), channels, strides, pads,
        dilation, *([groups] if groups > 1 else []),
        primfunc_name_hint=f"{'grouped_' if groups > 1 else ''}conv{rank}",
        primfunc_attrs=kernels.FUSABLE,
    )  # fmt: skip


def transposed(
    builder: relax.BlockBuilder,
    x: Image,
    weight: np.ndarray,
    attrs: Any,
    sizes: list[int],
    out: list[int],
    widest: int,
) -> relax.Expr | None:
    """A transposed convolution, as a convolution whose outputs are interleaved.

    Args:
        x: gives its input ``[N, *sizes, IC]``.
        weight: ``[IC, OC/groups, *kernel]``, float32.
        attrs: of the Relax operator.
        sizes, out: of the input's and the output's spatial axes.
        widest: floats in a register of the target.
    """
    strides, groups, rank = _ints(attrs.strides), int(attrs.groups), len(out)
    pads = _ints(attrs.padding)[:rank]
    if any(step != 1 for step in _ints(attrs.dilation)):
        return None
    phased = kernels.phase_weights(weight, strides, groups)
    taps = phased.shape[2:]
    first = [pad // stride for pad, stride in zip(pads, strides, strict=True)]
    last = [
        (size - 1 + pad) // stride for size, pad, stride in zip(out, pads, strides, strict=True)
    ]
    before = [count - 1 - start for count, start in zip(taps, first, strict=True)]
    after = [end - size + 1 for end, size in zip(last, sizes, strict=True)]
    if min(*before, *after) < 0:
        return None
    ones = [1] * rank
    if phased.shape[1] == 1 and groups > 1:
        y = builder.emit_te(
            kernels.depthwise, x(),
            relax.const(np.ascontiguousarray(np.moveaxis(phased[:, 0], 0, -1))),
            ones, [*before, *after], ones,
            primfunc_name_hint=f"depthwise_conv{rank}d", primfunc_attrs=kernels.FUSABLE,
        )  # fmt: skip
    else:
        y = _packed(
            builder, x, phased, ones, [*before, *after], ones, groups, phased.shape[0],
            f"{rank}d", widest,
        )  # fmt: skip
    if y is None:
        return None
    return builder.emit_te(
        kernels.phases_together, y, weight.shape[1] * groups, out, strides, pads, groups,
        primfunc_name_hint="phases", primfunc_attrs=INJECTIVE,
    )  # fmt: skip


def _winograd(
    builder: relax.BlockBuilder, x: relax.Expr, weight: np.ndarray, pads: list[int],
    out: list[int], tile: int, widest: int,
) -> relax.Expr:  # fmt: skip
    lanes = kernels.lanes_for(weight.shape[0], widest if weight.shape[0] % kernels.WIDE == 0 else 0)
    emit, opaque, batch = builder.emit_te, winograd.OPAQUE, int(x.ty.shape[0])
    patches = emit(
        winograd.input_transform, x, pads, out, tile,
        primfunc_name_hint="winograd_input", primfunc_attrs=opaque,
    )  # fmt: skip
    products = emit(
        winograd.product, patches, relax.const(winograd.transform(weight, lanes, tile)),
        primfunc_name_hint="winograd_product", primfunc_attrs=opaque,
    )  # fmt: skip
    return emit(
        winograd.output_transform, products, batch, out, tile,
        primfunc_name_hint="winograd_output", primfunc_attrs=kernels.FUSABLE,
    )  # fmt: skip


def dense(
    builder: relax.BlockBuilder, x: relax.Expr, weight: np.ndarray, widest: int
) -> relax.Expr:
    """A matrix product of ``x`` ``[..., K]`` with the constant ``weight`` ``[K, OC]``."""
    lanes = kernels.lanes_for(weight.shape[1], widest)
    packed = kernels.pack(weight.T[:, :, None, None], lanes)
    return builder.call_te(
        kernels.dense, x, relax.const(packed), weight.shape[1],
        primfunc_name_hint="dense", primfunc_attrs=kernels.FUSABLE,
    )  # fmt: skip


LEAST_ROWS = 4
"""Of a product of two computed matrices: with fewer, packing one would cost more than it saves."""


def batch_matmul(
    builder: relax.BlockBuilder, x: relax.Expr, y: relax.Expr, out: list[int], widest: int
) -> relax.Expr | None:
    """A product ``[*batch, M, K]`` by ``[*batch, K, N]`` of computed matrices; None: TVM's own."""
    left, right = ([int(size) for size in each.ty.shape] for each in (x, y))
    batch, (rows, columns), inner = left[:-2], out[-2:], left[-1]
    if right[:-2] != batch or rows < LEAST_ROWS or columns < kernels.LANES or inner < 2:
        return None
    flat = int(np.prod(batch))
    x = builder.emit(relax.op.reshape(x, [flat, rows, inner]))
    y = builder.emit(relax.op.reshape(y, [flat, inner, columns]))
    packed = builder.emit_te(
        kernels.pack_right, y, kernels.lanes_for(columns, widest),
        primfunc_name_hint="pack_right", primfunc_attrs=INJECTIVE,
    )  # fmt: skip
    product = builder.emit_te(
        kernels.batch_matmul, x, packed, columns,
        primfunc_name_hint="batch_matmul", primfunc_attrs=kernels.FUSABLE,
    )  # fmt: skip
    return relax.op.reshape(product, out)


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values]


def plain_layout(call: tvm.ir.Call) -> bool:
    """Whether a convolution's operands have ONNX's layouts, channels first."""
    kernel = str(call.attrs.kernel_layout)
    return str(call.attrs.data_layout).startswith("NC") and kernel[:2] in ("OI", "IO")
