"""Converts an ONNX file to half precision with ONNX Runtime's converter, and checks the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tvmkd.base import files
from tvmkd.base.errors import InputError
from tvmkd.base.onnx_runtime import numpy_dtype, open_session
from tvmkd.base.random_inputs import random_sample
from tvmkd.base.tolerance import COMPILED, error_of_range
from tvmkd.export import ort_tools
from tvmkd.export.layers import nodes_of

ROUNDS = 4


def half(
    source: Path, out: Path, keep_fp32: Sequence[str] = (), pictures: np.ndarray | None = None
) -> float:
    """Writes ``source`` with float16 weights and arithmetic; inputs and outputs stay float32.

    Args:
        source: an FP32 ONNX file.
        out: the file to write; nothing is written where the check fails.
        keep_fp32: layers that stay in FP32 (mixed precision), as in `tvmkd.export.layers`.
        pictures: inputs for the check of a model with one input, float32 ``[N, C, H, W]``, at
            least one batch of the model; None: random inputs.

    Returns:
        The largest difference between the outputs of both files, as a share of the largest
        magnitude.

    Raises:
        InputError: a layer is not there, the model cannot be converted, there are fewer pictures
            than its batch, or the outputs differ by more than `tvmkd.base.tolerance.COMPILED`
            allows: float16 ends at 65504.
    """
    ort_tools.importable()
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(str(source))
    blocked = nodes_of(model, keep_fp32, "keep_fp32")
    try:
        with ort_tools.quiet():
            result = convert_float_to_float16(model, keep_io_types=True, node_block_list=blocked)
    except Exception as error:  # the converter raises errors of many classes
        raise InputError(f"{source}: cannot be converted to FP16: {error}") from None
    # The converter appends its casts at the end.
    OnnxModel(result).topological_sort()
    with files.draft(out, ".onnx") as written:
        onnx.save(result, str(written))
        gap = _difference(source, written, pictures)
        if not gap <= COMPILED["float16"]:  # a NaN fails too
            raise InputError(
                f"{source}: in FP16 it differs by {gap:.2g} of the output's range "
                f"({COMPILED['float16']:g} is allowed); keep layers with large values in FP32 "
                "(keep_fp32)"
            )
    return gap


def _difference(source: Path, other: Path, pictures: np.ndarray | None) -> float:
    sessions = [open_session(path) for path in (source, other)]
    answers: list[list[Any]] = [[], []]
    for feed in _feeds(source, sessions[0].get_inputs(), pictures):
        for found, session in zip(answers, sessions, strict=True):
            found.append(session.run(None, feed))
    return max(
        error_of_range(np.concatenate(got), np.concatenate(wanted))
        for wanted, got in zip(*(zip(*found, strict=True) for found in answers), strict=True)
    )


def _feeds(
    source: Path, inputs: Sequence[Any], pictures: np.ndarray | None
) -> Iterator[dict[str, np.ndarray]]:
    """Each batch of pictures, or `ROUNDS` random ones. A free size is 1."""
    shapes = [[size if isinstance(size, int) else 1 for size in entry.shape] for entry in inputs]
    if pictures is None:
        rng = np.random.default_rng(0)
        specs = [
            {"name": entry.name, "shape": shape, "dtype": numpy_dtype(entry.type)}
            for entry, shape in zip(inputs, shapes, strict=True)
        ]
        for _ in range(ROUNDS):
            yield random_sample(rng, specs)
        return
    batch, last = shapes[0][0], len(pictures) - shapes[0][0]
    if last < 0:
        raise InputError(f"{source}: has a batch of {batch}; {len(pictures)} pictures are too few")
    # The last batch overlaps the one before it where the pictures do not divide evenly.
    for start in [*range(0, last, batch), last]:
        yield {inputs[0].name: pictures[start : start + batch]}
