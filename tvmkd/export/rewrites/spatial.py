"""Operators on images and their windows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from onnx import helper

from tvmkd.export.rewrites.integers import attributes, given
from tvmkd.export.rewrites.plain import (
    concat,
    constant_like,
    cut,
    give,
    parts,
    reshape,
    squeeze,
    transpose,
)
from tvmkd.export.site import Refused, Site


def space_to_depth(site: Site) -> None:
    """``SpaceToDepth`` with ``mode="CRD"``.

    https://onnx.ai/onnx/operators/onnx__SpaceToDepth.html
    """
    if site.attribute("mode", "DCR") == "DCR":
        site.drop("mode")
        return
    batch, channels, height, width = site.sizes()
    block = site.attribute("blocksize")
    cells = reshape(
        site, given(site, 0), [batch, channels, height // block, block, width // block, block]
    )
    turned = transpose(site, cells, 0, 1, 3, 5, 2, 4)
    sizes = [batch, channels * block * block, height // block, width // block]
    site.become("Reshape", [turned, site.constant(sizes)])


def conv_transpose(site: Site) -> None:
    """``ConvTranspose``: pads in place of ``output_shape`` and ``auto_pad``.

    https://onnx.ai/onnx/operators/onnx__ConvTranspose.html
    """
    wanted, auto = site.attribute("output_shape"), site.attribute("auto_pad", "NOTSET")
    if not wanted and auto in {"NOTSET", ""}:
        return
    shape, kernel = site.sizes(), site.sizes(1)[2:]
    count = len(kernel)
    strides, dilations = (site.attribute(name) or [1] * count for name in ("strides", "dilations"))
    extra = list(site.attribute("output_padding") or [0] * count)
    begins, ends = [], []
    for at in range(count):
        full = strides[at] * (shape[2 + at] - 1) + (kernel[at] - 1) * dilations[at] + 1
        size = wanted[-count:][at] if wanted else shape[2 + at] * strides[at]
        total = full + extra[at] - size if wanted or auto.startswith("SAME") else 0
        if total < 0:
            extra[at], total = extra[at] - total, 0
        half = total // 2
        begin, end = (half, total - half) if auto == "SAME_UPPER" else (total - half, half)
        begins.append(begin)
        ends.append(end)
    site.drop("output_shape", "auto_pad")
    site.set("pads", begins + ends)
    site.set("output_padding", extra)


def column_to_image(site: Site) -> None:
    """``Col2Im``: the sum of windows is a transposed convolution with one 1 for each element.

    https://onnx.ai/onnx/operators/onnx__Col2Im.html

    Raises:
        Refused: the sizes are computed.
    """
    image, block = site.value(1), site.value(2)
    if image is None or block is None:
        raise Refused("has sizes that are not constant")
    batch, rows, _ = site.sizes()
    count, cells = len(block), int(np.prod(block))
    strides, dilations = (
        list(site.attribute(name) or [1] * count) for name in ("strides", "dilations")
    )
    pads = list(site.attribute("pads") or [0] * 2 * count)
    places, extra = [], []
    for at in range(count):
        room = int(image[at]) + pads[at] + pads[at + count] - dilations[at] * (int(block[at]) - 1)
        places.append((room - 1) // strides[at] + 1)
        extra.append((room - 1) % strides[at])
    channels = rows // cells
    kernel = np.tile(
        np.eye(cells).reshape(cells, 1, *block.tolist()), (channels,) + (1,) * (count + 1)
    )
    data = reshape(site, given(site, 0), [batch, rows, *places])
    site.become(
        "ConvTranspose",
        [data, constant_like(site, kernel, data)],
        group=channels,
        strides=strides,
        dilations=dilations,
        pads=pads,
        output_padding=extra,
    )


def deformable(site: Site) -> None:
    """``DeformConv``: samples at moved places, then one matrix product for each group.

    https://onnx.ai/onnx/operators/onnx__DeformConv.html

    Raises:
        Refused: before opset 16, which has no GridSample.
    """
    if site.scope.target < 16:
        raise Refused("needs opset 16")
    batch, channels, height, width = site.sizes()
    outputs, inner, *kernel = site.sizes(1)
    _, moved, high, wide = site.sizes(2)
    cells = math.prod(kernel)
    groups = site.attribute("group", 1)
    apart = site.attribute("offset_group", 1)
    strides, dilations = (site.attribute(name) or [1, 1] for name in ("strides", "dilations"))
    pads = site.attribute("pads") or [0] * 4
    if moved != apart * cells * 2:
        raise Refused("has a number of offsets that does not fit its kernel")
    data = given(site, 0)
    # Where each element of each window lies without an offset: [cells, high, wide, (y, x)].
    base = np.zeros((cells, high, wide, 2))
    for cell, (y, x) in enumerate(itertools.product(*map(range, kernel))):
        base[cell, :, :, 0] = (np.arange(high) * strides[0] - pads[0] + y * dilations[0])[:, None]
        base[cell, :, :, 1] = np.arange(wide) * strides[1] - pads[1] + x * dilations[1]
    offsets = reshape(site, given(site, 2), [batch, apart, cells, 2, high, wide])
    offsets = transpose(site, offsets, 1, 0, 2, 4, 5, 3)
    places = site.add("Add", [offsets, constant_like(site, base, data)])
    # GridSample counts from -1 to 1 and x first.
    factor = constant_like(site, np.array([2 / height, 2 / width]), data)
    shift = constant_like(site, np.array([1 / height - 1, 1 / width - 1]), data)
    scaled = site.add("Add", [site.add("Mul", [places, factor]), shift])
    grid = site.add("Gather", [scaled, site.constant([1, 0])], axis=5)
    share = channels // apart
    samples = []
    mode = "linear" if site.scope.target >= 20 else "bilinear"
    for at, image in enumerate(parts(site, data, 1, [share] * apart)):
        mine = reshape(site, cut(site, grid, 0, at, at + 1), [batch, cells * high, wide, 2])
        found = site.add(
            "GridSample", [image, mine], mode=mode, padding_mode="zeros", align_corners=0
        )
        found = reshape(site, found, [batch, share, cells, high, wide])
        if site.has(4):
            weight = cut(site, given(site, 4), 1, at * cells, (at + 1) * cells)
            weight = reshape(site, weight, [batch, 1, cells, high, wide])
            found = site.add("Mul", [found, weight])
        samples.append(found)
    column = reshape(site, concat(site, samples, 1), [batch, groups, inner * cells, high * wide])
    weights = reshape(site, given(site, 1), [groups, outputs // groups, inner * cells])
    result = reshape(site, site.add("MatMul", [weights, column]), [batch, outputs, high, wide])
    if site.has(3):
        bias = reshape(site, given(site, 3), [1, outputs, 1, 1])
        result = site.add("Add", [result, bias])
    site.become("Identity", [result])


def max_pool(site: Site) -> None:
    """``MaxPool`` that gives where its maxima lie: each window as a row, and its largest place.

    https://onnx.ai/onnx/operators/onnx__MaxPool.html
    """
    if len(site.node.output) < 2 or not site.node.output[1]:
        return
    shape, result = site.sizes(), site.output_shape()
    if result is None or None in result:
        raise Refused("has an output whose shape is not known")
    sizes, after = shape[2:], [int(size) for size in result[2:] if size is not None]
    kernel = site.attribute("kernel_shape")
    count = len(kernel)
    strides, dilations = (site.attribute(name) or [1] * count for name in ("strides", "dilations"))
    begins = _begins(site, sizes, after, kernel, strides, dilations)
    # [windows, cells]: the place of each cell in the flat image; one beyond the end outside.
    flat = math.prod(sizes)
    table = np.zeros((1, 1), np.int64)
    column = np.zeros((1, 1), np.int64)
    outside = np.zeros((1, 1), bool)
    for at in range(count):
        line = np.arange(after[at])[:, None] * strides[at] - begins[at]
        line = line + np.arange(kernel[at]) * dilations[at]
        bad = (line < 0) | (line >= sizes[at])
        step = math.prod(sizes[:at])

        def spread(old: np.ndarray, new: np.ndarray) -> np.ndarray:
            both: np.ndarray = old[:, None, :, None] + new[None, :, None, :]
            flat: np.ndarray = both.reshape(old.shape[0] * new.shape[0], -1)
            return flat

        outside = spread(outside, bad)
        table = spread(table * sizes[at], line)
        column = spread(column, line * step)
    places = np.where(outside, flat, table)
    kind = site.elem_type()
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind))
    lowest = -np.inf if dtype.kind == "f" else np.iinfo(dtype).min
    data = given(site, 0)
    pixels = reshape(site, data, [shape[0], shape[1], flat])
    edge = constant_like(site, np.full((shape[0], shape[1], 1), lowest), data)
    windows = site.add("Gather", [concat(site, [pixels, edge], 2), site.constant(places)], axis=2)
    largest = site.add("ArgMax", [windows], axis=3, keepdims=0)
    given_by = column if site.attribute("storage_order", 0) else table
    cells = places.shape[1]
    row = site.constant(np.arange(len(places)) * cells)
    found = site.add(
        "Gather", [site.constant(given_by.reshape(-1)), site.add("Add", [largest, row])], axis=0
    )
    start = np.arange(shape[0] * shape[1]).reshape(shape[0], shape[1], 1) * flat
    indices = reshape(site, site.add("Add", [found, site.constant(start)]), [*shape[:2], *after])
    values = site.add("MaxPool", [data], **attributes(site, "storage_order"))
    give(site, values, indices)


def _begins(
    site: Site,
    sizes: Sequence[int],
    after: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    """The padding before each axis."""
    auto = site.attribute("auto_pad", "NOTSET")
    if auto in {"NOTSET", ""}:
        return list(site.attribute("pads") or [0] * len(kernel))[: len(kernel)]
    if auto == "VALID":
        return [0] * len(kernel)
    begins = []
    for at, size in enumerate(sizes):
        reach = (kernel[at] - 1) * dilations[at] + 1
        total = max((after[at] - 1) * strides[at] + reach - size, 0)
        begins.append(total // 2 if auto == "SAME_UPPER" else total - total // 2)
    return begins


def max_unpool(site: Site) -> None:
    """``MaxUnpool``: each value goes where its index says, zeros elsewhere.

    https://onnx.ai/onnx/operators/onnx__MaxUnpool.html

    Raises:
        Refused: the output has a shape of its own, which the indices do not speak of.
    """
    shape = site.sizes()
    kernel = site.attribute("kernel_shape")
    count = len(kernel)
    strides = site.attribute("strides") or [1] * count
    pads = site.attribute("pads") or [0] * 2 * count
    after = [
        (shape[2 + at] - 1) * strides[at] - pads[at] - pads[at + count] + kernel[at]
        for at in range(count)
    ]
    wanted = site.value(2)
    if site.has(2) and (wanted is None or wanted.tolist() != [*shape[:2], *after]):
        raise Refused("has an output_shape of its own")
    total = math.prod((*shape[:2], *after))
    data = reshape(site, given(site, 0), [-1])
    empty = constant_like(site, np.zeros(total), data)
    places = reshape(site, given(site, 1), [-1])
    filled = site.add("ScatterElements", [empty, places, data], axis=0)
    site.become("Reshape", [filled, site.constant([*shape[:2], *after])])


def determinant(site: Site) -> None:
    """``Det`` of matrices of at most 4 rows, row by row.

    Raises:
        Refused: they are larger: an elimination would have to choose its rows as it runs.
    """
    shape = site.sizes()
    size, rank = shape[-1], len(shape)
    if size > 4:
        raise Refused(f"has matrices of {size} rows, more than 4")
    rows = [
        squeeze(site, row, rank - 2) for row in parts(site, given(site, 0), rank - 2, [1] * size)
    ]
    cells = [
        [squeeze(site, cell, rank - 2) for cell in parts(site, row, rank - 2, [1] * size)]
        for row in rows
    ]

    def minor(first: int, columns: tuple[int, ...]) -> str:
        if len(columns) == 1:
            return cells[first][columns[0]]
        total = ""
        for at, column in enumerate(columns):
            rest = minor(first + 1, columns[:at] + columns[at + 1 :])
            part = site.add("Mul", [cells[first][column], rest])
            total = site.add("Sub" if at % 2 else "Add", [total, part]) if total else part
        return total

    site.become("Identity", [minor(0, tuple(range(size)))])
