"""Whether an ONNX file answers as the PyTorch network it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tvmkd.base.errors import InputError
from tvmkd.base.tolerance import EXPORT_ABSOLUTE, EXPORT_RELATIVE

ROUNDS = 4


def parity(
    network: nn.Module, path: Path, shape: tuple[int, ...], dynamic_batch: bool, name: str
) -> float:
    """Runs both on several random inputs and returns the largest difference.

    Inputs are standard normal, float32, and one is all zeros. With a free batch other batch sizes
    than the traced one are among them.

    Raises:
        InputError: ONNX Runtime refuses the file, an output is not finite, or one differs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # a C++ error of one of many kinds
        raise InputError(f"{name}: ONNX Runtime refuses the export: {_first(error)}") from None
    (entry,) = session.get_inputs()
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for number in range(ROUNDS):
        batch = number + 1 if dynamic_batch else shape[0]
        example = torch.randn((batch, *shape[1:]), generator=generator)
        if number == ROUNDS - 1:
            example.zero_()
        with torch.inference_mode():
            expected = flatten(network(example))
        try:
            found = session.run(None, {entry.name: example.numpy()})
        except Exception as error:  # as above
            raise InputError(
                f"{name}: the exported file fails on a batch of {batch}: {_first(error)}"
            ) from None
        if len(expected) != len(found):
            raise InputError(
                f"{name}: PyTorch gives {len(expected)} outputs, the exported file {len(found)}"
            )
        outputs = [output.name for output in session.get_outputs()]
        for output, want, got in zip(outputs, expected, found, strict=True):
            worst = max(worst, _difference(want.float().numpy(), got, f'{name}: "{output}"'))
    return worst


def flatten(outputs: Any) -> list[Tensor]:
    """The tensors in whatever a network returns, in the order of the exporter."""
    leaves, _ = torch.utils._pytree.tree_flatten(outputs)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _difference(want: np.ndarray[Any, Any], got: np.ndarray[Any, Any], where: str) -> float:
    if not np.isfinite(want).all():
        raise InputError(f"{where} is NaN or infinite in PyTorch already: look at the weights")
    if want.shape != got.shape:
        raise InputError(f"{where} has shape {want.shape} in PyTorch, {got.shape} in ONNX Runtime")
    if want.size == 0:
        return 0.0
    gap = np.abs(want - got.astype(np.float32))
    largest = max(1.0, float(np.abs(want).max()))
    allowed = EXPORT_RELATIVE * np.abs(want) + EXPORT_ABSOLUTE * largest
    # Written so that a NaN in the gap is a failure.
    if not (gap <= allowed).all():
        raise InputError(
            f"{where} differs between PyTorch and ONNX Runtime by {float(gap.max()):.3g} "
            f"(values up to {float(np.abs(want).max()):.3g}); the file is not kept"
        )
    return float(gap.max())


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
