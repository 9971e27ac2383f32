"""Helpers that add one plain operator before a node, in the form that its opset has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import helper

from tvmkd.export.site import Site


def constant_like(site: Site, value: float | np.ndarray, like: str) -> str:
    """A constant with the element type of the tensor ``like``."""
    dtype = helper.tensor_dtype_to_np_dtype(site.elem_type_of(like))
    return site.constant(np.asarray(value).astype(dtype))


def cast(site: Site, data: str, elem_type: int) -> str:
    """The tensor in another element type; as it is where it has that one."""
    kind = site.scope.types.get(data)
    if kind is not None and kind.tensor_type.elem_type == elem_type:
        return data
    return site.add("Cast", [data], to=elem_type)


def reshape(site: Site, data: str, shape: Sequence[int]) -> str:
    """The tensor in another shape."""
    return site.add("Reshape", [data, site.constant(shape)])


def squeeze(site: Site, data: str, *axes: int) -> str:
    """The tensor without these axes of size 1."""
    return site.add("Squeeze", [data, site.constant(axes)])


def unsqueeze(site: Site, data: str, *axes: int) -> str:
    """The tensor with new axes of size 1."""
    return site.add("Unsqueeze", [data, site.constant(axes)])


def transpose(site: Site, data: str, *order: int) -> str:
    """The tensor with its axes in another order."""
    return site.add("Transpose", [data], perm=order)


def cut(site: Site, data: str, axis: int, begin: int, end: int) -> str:
    """A part of the tensor along one axis."""
    bounds = [site.constant([value]) for value in (begin, end, axis)]
    return site.add("Slice", [data, *bounds])


def parts(site: Site, data: str, axis: int, sizes: Sequence[int]) -> list[str]:
    """The tensor cut into parts of these sizes along one axis."""
    if len(sizes) == 1:
        return [data]
    return site.add_many("Split", [data, site.constant(sizes)], len(sizes), axis=axis)


def concat(site: Site, names: Sequence[str], axis: int) -> str:
    """The tensors one after another along one axis."""
    return names[0] if len(names) == 1 else site.add("Concat", names, axis=axis)


def reduce(site: Site, kind: str, data: str, axes: Sequence[int], keepdims: bool = True) -> str:
    """``ReduceSum``, ``ReduceMean``, ... over these axes."""
    if kind == "Sum" or site.scope.target >= 18:
        inputs = [data, site.constant(axes)]
        return site.add(f"Reduce{kind}", inputs, keepdims=int(keepdims))
    return site.add(f"Reduce{kind}", [data], axes=axes, keepdims=int(keepdims))


def give(site: Site, *outputs: str) -> None:
    """Makes these tensors the node's outputs, in order; those that nobody asks for are left out."""
    wanted = [(mine, name) for mine, name in zip(site.node.output, outputs, strict=False) if mine]
    site.replace([helper.make_node("Identity", [name], [mine]) for mine, name in wanted])
