"""Operators that choose or place elements by their positions."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tvmkd.export.rewrites.integers import given
from tvmkd.export.rewrites.plain import cast, reshape, transpose
from tvmkd.export.site import Refused, Site


def reverse_sequence(site: Site) -> None:
    """``ReverseSequence``: a Gather of steps and sequences as one axis.

    https://onnx.ai/onnx/operators/onnx__ReverseSequence.html
    """
    shape = site.sizes()
    time = site.attribute("time_axis", 0)
    sequences, steps = shape[1 - time], shape[time]
    lengths = reshape(site, cast(site, given(site, 1), TensorProto.INT64), [1, sequences])
    place = site.constant(np.arange(steps)[:, None])
    last = site.add("Sub", [lengths, site.constant(np.array(1))])
    mirrored = site.add("Sub", [last, place])
    source = site.add("Where", [site.add("Less", [place, lengths]), mirrored, place])
    # As positions in the flattened axes, in their order in the tensor.
    number = site.constant(np.arange(sequences)[None])
    if time == 0:
        flat = site.add(
            "Add", [site.add("Mul", [source, site.constant(np.array(sequences))]), number]
        )
    else:
        whole = site.add("Add", [site.add("Mul", [number, site.constant(np.array(steps))]), source])
        flat = transpose(site, whole, 1, 0)
    rows = reshape(site, given(site, 0), [shape[0] * shape[1], *shape[2:]])
    chosen = site.add("Gather", [rows, reshape(site, flat, [-1])], axis=0)
    site.become("Reshape", [chosen, site.constant(shape)])


def compress(site: Site) -> None:
    """``Compress`` by a constant condition is a Gather.

    Raises:
        Refused: the condition is computed.
    """
    condition = site.value(1)
    if condition is None:
        raise Refused("gives a number of elements that depends on the data")
    axis = site.attribute("axis")
    data = given(site, 0)
    if axis is None:
        data, axis = reshape(site, data, [-1]), 0
    indices = site.constant(np.flatnonzero(condition))
    site.become("Gather", [data, indices], axis=axis)


def empty_slice(site: Site) -> None:
    """``Slice`` of nothing: TVM takes its bounds for an error."""
    shape = site.output_shape()
    if shape is None or None in shape or 0 not in shape:
        return
    dtype = helper.tensor_dtype_to_np_dtype(site.elem_type())
    sizes = [size for size in shape if size is not None]
    site.become("Constant", [], value=numpy_helper.from_array(np.empty(sizes, dtype)))


def tensor_scatter(site: Site) -> None:
    """``TensorScatter``: a cache with new rows from an index for each sequence on.

    https://onnx.ai/onnx/operators/onnx__TensorScatter.html
    """
    shape, new = site.sizes(), site.sizes(1)
    rank = len(shape)
    axis = site.attribute("axis", -2) % rank
    place = site.constant(np.arange(new[axis])[None])
    if site.has(2):
        first = reshape(site, cast(site, given(site, 2), TensorProto.INT64), [new[0], 1])
        place = site.add("Add", [first, place])
    if site.attribute("mode", "linear") == "circular":
        place = site.add("Mod", [place, site.constant(np.array(shape[axis]))])
    rows = new[0] if site.has(2) else 1
    column = [1] * rank
    column[0], column[axis] = rows, new[axis]
    indices = site.add("Expand", [reshape(site, place, column), site.constant(new)])
    site.become("ScatterElements", [given(site, 0), indices, given(site, 1)], axis=axis)


def depends_on_data(site: Site) -> None:
    """``NonZero``, ``Unique``, ``NonMaxSuppression``, ...: only a run shows the output's size.

    Raises:
        Refused: always.
    """
    raise Refused("gives a number of elements that depends on the data")


def by_length(site: Site) -> None:
    """``Range`` and ``ConstantOfShape`` of computed numbers.

    Raises:
        Refused: they are computed, by more than shapes.
    """
    if any(site.value(index) is None for index in range(len(site.node.input))):
        raise Refused("gives a number of elements that depends on the data")


def random(site: Site) -> None:
    """``RandomNormal``, ``Bernoulli``, ...

    Raises:
        Refused: always.
    """
    raise Refused("is random: its outputs differ from run to run")
