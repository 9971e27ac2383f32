"""The inputs' shapes: fixed sizes, and ranges for an optimisation profile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from tvmkd.base.errors import InputError
from tvmkd.tensorrt.options import BuildOptions

Shape = tuple[int, ...]
Range = tuple[Shape, Shape, Shape]


def free_inputs(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    """The sizes of each input that is no weight; a free size is its name, or ``INPUT.AXIS``."""
    weights = {tensor.name for tensor in model.graph.initializer}
    result: dict[str, list[int | str]] = {}
    for entry in model.graph.input:
        if entry.name not in weights:
            result[entry.name] = [
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{entry.name}.{i}"
                for i, dim in enumerate(entry.type.tensor_type.shape.dim)
            ]
    return result


def ranges(model: onnx.ModelProto, options: BuildOptions, source: Path) -> dict[str, Range]:
    """The smallest, best and largest shape of every input with a free dimension.

    Raises:
        InputError: a free dimension has no size, ``dims`` has a name that no input has, or a batch
            range is given and the model's batch is fixed.
    """
    inputs = free_inputs(model)
    names = {size for sizes in inputs.values() for size in sizes if isinstance(size, str)}
    unknown = sorted(set(options.dims) - names)
    if unknown:
        raise InputError(f'{source}: there is no free dimension "{unknown[0]}"')
    result: dict[str, Range] = {}
    batches = False
    for name, sizes in inputs.items():
        if not any(isinstance(size, str) for size in sizes):
            continue
        bounds: list[Sequence[int]] = []
        for axis, size in enumerate(sizes):
            if isinstance(size, int):
                bounds.append((size,) * 3)
            elif size in options.dims:
                bounds.append((options.dims[size],) * 3)
            elif axis == 0 and options.batch is not None:
                bounds.append(options.batch)
                batches = True
            else:
                way = "--batch 1:4:8" if axis == 0 else f"--dim {size}=SIZE"
                raise InputError(
                    f'{source}: the dimension "{size}" of input "{name}" is free: give {way}'
                )
        least, best, most = zip(*bounds, strict=True)
        result[name] = (least, best, most)
    if options.batch is not None and not batches:
        raise InputError(
            f"{source}: its batch is fixed; export it with --dynamic-batch, or leave --batch out"
        )
    return result
