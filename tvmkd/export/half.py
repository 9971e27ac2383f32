"""An ONNX file in half precision, by ONNX Runtime's converter, checked against its original."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tvmkd.base import files
from tvmkd.base.errors import InputError
from tvmkd.base.tolerance import COMPILED, error_of_range
from tvmkd.export import ort_tools
from tvmkd.export.layers import nodes_of

ROUNDS = 4
_INTEGERS = {"tensor(int32)": np.int32, "tensor(bool)": np.bool_}


def half(
    source: Path, out: Path, keep_fp32: Sequence[str] = (), pictures: np.ndarray | None = None
) -> float:
    """Writes ``source`` with float16 weights and arithmetic; inputs and outputs stay float32.

    Args:
        source: an FP32 ONNX file.
        keep_fp32: layers that stay in FP32 (mixed precision), as `tvmkd.export.layers` takes them.
        pictures: inputs to compare both files on, float32 ``[N, C, H, W]``, for a model of one
            input; None: normal noise (zeros for integers), as many inputs as there are.

    Returns:
        The largest difference between both files' outputs, as a share of the largest magnitude.

    Raises:
        InputError: a layer is not there, the model cannot be converted, or answers with more than
            `tvmkd.base.tolerance.COMPILED` of difference: float16 ends at 65504.
    """
    ort_tools.importable()
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(str(source))
    blocked = nodes_of(model, keep_fp32, "keep_fp32")
    try:
        # It warns of every small weight that becomes zero; the comparison is what counts.
        logging.disable(logging.WARNING)
        result = convert_float_to_float16(model, keep_io_types=True, node_block_list=blocked)
    except Exception as error:  # whatever the converter trips over
        raise InputError(f"{source}: cannot be brought to FP16: {error}") from None
    finally:
        logging.disable(logging.NOTSET)
    # The converter puts its casts at the end.
    OnnxModel(result).topological_sort()
    out.parent.mkdir(parents=True, exist_ok=True)
    with files.draft(out, ".onnx") as written:
        onnx.save(result, str(written))
        gap = _difference(source, written, pictures)
        if not gap <= COMPILED["float16"]:
            raise InputError(
                f"{source}: in FP16 it differs by {gap:.2g} of the output's range "
                f"({COMPILED['float16']:g} is allowed); keep layers with large values in FP32 "
                "(keep_fp32)"
            )
    return gap


def _difference(source: Path, other: Path, pictures: np.ndarray | None) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    sessions = [
        onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        for path in (source, other)
    ]
    answers: list[list[Any]] = [[], []]
    for feed in _feeds(sessions[0].get_inputs(), pictures):
        for found, session in zip(answers, sessions, strict=True):
            found.append(session.run(None, feed))
    return max(
        error_of_range(np.concatenate(got), np.concatenate(wanted))
        for wanted, got in zip(*(zip(*found, strict=True) for found in answers), strict=True)
    )


def _feeds(inputs: Sequence[Any], pictures: np.ndarray | None) -> Iterator[dict[str, np.ndarray]]:
    shapes = [[size if isinstance(size, int) else 1 for size in entry.shape] for entry in inputs]
    if pictures is not None:
        count = shapes[0][0]
        for start in range(0, len(pictures) - count + 1, count):
            yield {inputs[0].name: pictures[start : start + count]}
        return
    generator = np.random.default_rng(0)
    for _ in range(ROUNDS):
        yield {
            entry.name: generator.standard_normal(shape, dtype=np.float32)
            if entry.type == "tensor(float)"
            else np.zeros(shape, _INTEGERS.get(entry.type, np.int64))
            for entry, shape in zip(inputs, shapes, strict=True)
        }
