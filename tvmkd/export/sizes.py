"""Sizes of free dimensions: which there are in an ONNX file, and how a user's sizes get in."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from tvmkd.base.errors import InputError
from tvmkd.base.text import listing, suggest

# Exporters write these for a size that they do not know; two of them need not be equal.
_NAMELESS = {"", "?", "-1", "None"}


@dataclass
class _Axis:
    """One axis of an input; ``key`` is ``INPUT.AXIS``, ``name`` is empty if it has none."""

    dim: onnx.TensorShapeProto.Dimension
    key: str
    name: str
    free: bool

    @property
    def place(self) -> str:
        tensor, _, axis = self.key.rpartition(".")
        return f'axis {axis} of input "{tensor}"'


def fix(model: onnx.ModelProto, path: Path, dims: Mapping[str, int]) -> list[onnx.ValueInfoProto]:
    """Sets the sizes of free dimensions in the inputs of ``model``.

    A dimension is free if it has a name, no size, or a negative one. A name stands for one size in
    all inputs; ``INPUT.AXIS`` (``image.0``; ``.0`` if there is one input) sets one axis, and with
    it the name. A fixed size may be repeated. An input without a shape gets the given axes.

    Args:
        model: changed in place.
        path: names the file in errors.
        dims: sizes by name or by ``INPUT.AXIS``.

    Returns:
        the inputs that are no weights.

    Raises:
        InputError: an input is not a tensor; a free dimension has no size; a size is given for a
            dimension that is not there or has another size; sizes contradict each other; or an
            input does not fit in this machine's memory.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in weights]
    for name, size in dims.items():
        if size < 1:
            raise InputError(f"{path}: size {size} for {name}: it is at least 1")
    if len(inputs) == 1:
        only = inputs[0].name
        dims = {f"{only}{key}" if key.startswith(".") else key: dims[key] for key in dims}
    axes = [axis for entry in inputs for axis in _axes(entry, path, dims)]
    _refuse_unknown(axes, path, dims)
    named = _by_name(axes, path, dims)
    free: dict[str, str] = {}
    for axis in axes:
        if not axis.free:
            continue
        if axis.key in dims or axis.name in named:
            axis.dim.dim_value = dims[axis.key] if axis.key in dims else named[axis.name]
        else:
            free.setdefault(axis.name or axis.key, axis.place)
    if free:
        places = ", ".join(f'"{name}" ({where})' for name, where in free.items())
        example = " ".join(f"--dim {_quoted(name)}=1" for name in free)
        raise InputError(f"{path}: free dimensions {places}: give their sizes, as in {example}")
    for entry in inputs:
        _fits(entry, path)
    return inputs


def free_batch(model: onnx.ModelProto, dims: Mapping[str, int]) -> dict[str, int]:
    """The size 1 for the first axis of each input, where it is free and no size is given.

    trtexec does the same. The first axis is nearly always the batch; all other sizes decide what
    the network computes.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in weights]
    assumed: dict[str, int] = {}
    for entry in inputs:
        shape = entry.type.tensor_type.shape.dim
        if not shape or (shape[0].HasField("dim_value") and shape[0].dim_value >= 0):
            continue
        named = "" if shape[0].dim_param in _NAMELESS else shape[0].dim_param
        keys = {named, f"{entry.name}.0", *([".0"] if len(inputs) == 1 else [])}
        if not keys & dims.keys():
            assumed[named or f"{entry.name}.0"] = 1
    # One axis of a name may have a size: then the name has it.
    for entry in inputs:
        for axis, dim in enumerate(entry.type.tensor_type.shape.dim):
            if dim.dim_param in assumed and f"{entry.name}.{axis}" in dims:
                del assumed[dim.dim_param]
    return assumed


def _quoted(name: str) -> str:
    return name if name.replace(".", "").replace("_", "").isalnum() else f"'{name}'"


def _axes(entry: onnx.ValueInfoProto, path: Path, dims: Mapping[str, int]) -> list[_Axis]:
    """The axes of an input."""
    if not entry.type.HasField("tensor_type"):
        kind = entry.type.WhichOneof("value") or "value of unknown type"
        raise InputError(
            f'{path}: input "{entry.name}" is a {kind.removesuffix("_type")}, not a tensor: '
            "export the model with tensors as inputs"
        )
    tensor = entry.type.tensor_type
    if not tensor.HasField("shape"):
        given = sorted(
            int(key.rpartition(".")[2])
            for key in dims
            if key.rpartition(".")[0] == entry.name and key.rpartition(".")[2].isdigit()
        )
        if not given or given != list(range(len(given))):
            raise InputError(
                f'{path}: input "{entry.name}" has no shape: give one, as in '
                f"--shape {entry.name}:1x3x224x224"
            )
        tensor.shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in given)
    axes = []
    for axis, dim in enumerate(tensor.shape.dim):
        key = f"{entry.name}.{axis}"
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            if dim.dim_value == 0:
                raise InputError(
                    f'{path}: input "{entry.name}" has size 0 on axis {axis}: export the model '
                    "without this input, or with a size"
                )
            if dims.get(key, dim.dim_value) != dim.dim_value:
                raise InputError(
                    f'{path}: axis {axis} of input "{entry.name}" has the fixed size '
                    f"{dim.dim_value}, not {dims[key]}: export the model with that size, or free"
                )
            axes.append(_Axis(dim, key, "", False))
            continue
        name = "" if dim.dim_param in _NAMELESS else dim.dim_param
        axes.append(_Axis(dim, key, name, True))
    return axes


def _refuse_unknown(axes: list[_Axis], path: Path, dims: Mapping[str, int]) -> None:
    known = {axis.key for axis in axes} | {axis.name for axis in axes if axis.name}
    wanted = dict.fromkeys(axis.name or axis.key for axis in axes if axis.free)
    for name in dims:
        if name in known:
            continue
        tensor, _, at = name.rpartition(".")
        count = sum(axis.key.rpartition(".")[0] == tensor for axis in axes)
        if at.isdigit() and count:
            raise InputError(f'{path}: input "{tensor}" has {count} axes, so there is no axis {at}')
        more = f"; free are: {listing(wanted)}" if wanted else "; it has none"
        raise InputError(
            f'{path}: there is no free dimension "{name}"{suggest(name, wanted) or more}'
        )


def _by_name(axes: list[_Axis], path: Path, dims: Mapping[str, int]) -> dict[str, int]:
    """The size of each name: as given, or as given for one of its axes."""
    sizes = {axis.name: dims[axis.name] for axis in axes if axis.name in dims}
    by_axis: dict[str, dict[str, int]] = defaultdict(dict)
    for axis in axes:
        if axis.name and axis.name not in dims and axis.key in dims:
            by_axis[axis.name][axis.key] = dims[axis.key]
    for name, found in by_axis.items():
        if len(set(found.values())) == 1:
            sizes[name] = next(iter(found.values()))
        elif any(axis.name == name and axis.key not in dims for axis in axes):
            text = " and ".join(f"{key}={size}" for key, size in found.items())
            raise InputError(f'{path}: {text} contradict each other: both are "{name}"')
    return sizes


def _fits(entry: onnx.ValueInfoProto, path: Path) -> None:
    kind = entry.type.tensor_type
    width = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
    size = math.prod(dim.dim_value for dim in kind.shape.dim) * width
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        shape = "x".join(str(dim.dim_value) for dim in kind.shape.dim)
        raise InputError(
            f'{path}: input "{entry.name}" of shape {shape} has {size / 2**30:,.0f} GiB, more than '
            f"this machine's memory ({memory / 2**30:.0f} GiB): give smaller sizes"
        )
