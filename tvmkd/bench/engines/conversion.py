"""Converts an ONNX file by the converter of another project, for its engine."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tvmkd.base.errors import InputError

Shape = tuple[int, ...] | None

SECONDS = 300.0
_NOISE = re.compile(r"\x1b\[[0-9;]*m|^\[[\d:]+\]\s*(:\d+:)?\s*")  # colours; time and place
_CAUSE = re.compile(r"not support|unsupported|fail|error|invalid|exception|no such", re.IGNORECASE)


def convert(
    command: Sequence[str], folder: Path, made: Sequence[str], onnx: Path, seconds: float = SECONDS
) -> int:
    """Runs a converter in ``folder``; returns the size of its results in bytes.

    Args:
        command: the converter and its arguments.
        made: names of the files that it has to write.
        onnx: the file, for messages.
        seconds: limit.

    Raises:
        InputError: the converter fails, takes too long or does not write the files. Converters may
            fail with exit code 0.
    """
    try:
        done = subprocess.run(
            list(command),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{onnx}: not converted in {seconds:.0f} s") from None
    files = [folder / name for name in made]
    if done.returncode or not all(file.exists() for file in files):
        raise InputError(f"{onnx}: not converted: {reason(done.stdout, done.returncode)}")
    return sum(file.stat().st_size for file in files)


def check_types(
    onnx: Path, example: Mapping[str, np.ndarray], known: Collection[str], converter: str
) -> None:
    """Refuses inputs of a type that a converter does not know.

    Args:
        onnx: the file, for messages.
        known: names of numpy's types.
        converter: its name.

    Raises:
        InputError: names the first such input.
    """
    for name, array in example.items():
        if str(array.dtype) not in known:
            raise InputError(f"{onnx}: {converter} has no inputs of {array.dtype} (input {name})")


def reason(output: str, code: int) -> str:
    """The last line of a converter's output that says why it failed, at most 200 characters."""
    lines = [_NOISE.sub("", line).strip() for line in output.splitlines()]
    lines = [line for line in lines if line]
    causes = [line for line in lines if _CAUSE.search(line)]
    # "Conversion failed!" often comes last.
    causes = [line for line in causes if line.count(" ") > 2] or causes
    ended = f"the converter was ended by signal {-code}" if code < 0 else f"exit code {code}"
    return (causes or lines or [ended])[-1][:200]


def shaped(outputs: Sequence[np.ndarray], shapes: Sequence[Shape]) -> list[np.ndarray]:
    """Outputs with the shapes of `output_shapes`, where they have that many values.

    Engines may drop dimensions of size one.
    """
    return [
        output if shape is None or output.size != math.prod(shape) else output.reshape(shape)
        for output, shape in zip(outputs, shapes, strict=True)
    ]


def output_shapes(onnx: Path, example: Mapping[str, np.ndarray]) -> dict[str, Shape]:
    """The shape of each output, in the file's order; None where the file does not say it.

    Args:
        example: the inputs, whose shapes give the sizes that are free in the file.
    """
    from onnx import load

    graph = load(str(onnx), load_external_data=False).graph
    sizes: dict[str, int] = {}
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        shape = example[value.name].shape if value.name in example else ()
        pairs = zip(dims, shape, strict=False)
        sizes.update((dim.dim_param, size) for dim, size in pairs if dim.dim_param)
    shapes: dict[str, Shape] = {}
    for value in graph.output:
        kind = value.type.tensor_type
        found = [
            dim.dim_value if dim.HasField("dim_value") else sizes.get(dim.dim_param)
            for dim in kind.shape.dim
        ]
        known = tuple(size for size in found if size is not None)
        complete = kind.HasField("shape") and len(known) == len(found)
        shapes[value.name] = known if complete else None
    return shapes


def native(inputs: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Contiguous arrays, int64 as int32: these engines compute with 32 bits."""
    return [
        np.ascontiguousarray(array, np.int32 if array.dtype == np.int64 else None)
        for array in inputs
    ]
