"""Compares an exported ONNX file with the PyTorch network that it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tvmkd.base.errors import InputError
from tvmkd.base.onnx_runtime import open_session
from tvmkd.base.random_inputs import random_array
from tvmkd.base.text import first_line
from tvmkd.base.tolerance import EXPORT_ABSOLUTE, EXPORT_RELATIVE

ROUNDS = 4


def parity(
    network: nn.Module, path: Path, shape: tuple[int, ...], dynamic_batch: bool, name: str
) -> float:
    """Runs both on seeded random inputs and returns the largest difference.

    The inputs are float32 and standard normal; the last one is all zeros. A file with a free batch
    runs with batches of 1 to `ROUNDS`.

    Args:
        network: in evaluation mode, on the CPU.
        path: the ONNX file, with one input.
        shape: of the input, batch first.
        dynamic_batch: whether the file's batch is free.
        name: the network's name in messages.

    Raises:
        InputError: ONNX Runtime cannot load or run the file, an output is not finite, or the
            outputs differ in number, shape or value (see `tvmkd.base.tolerance`).
    """
    session = open_session(path, name)
    (entry,) = session.get_inputs()
    rng = np.random.default_rng(0)
    worst = 0.0
    for number in range(ROUNDS):
        batch = number + 1 if dynamic_batch else shape[0]
        example = random_array(rng, "float32", (batch, *shape[1:]))
        if number == ROUNDS - 1:
            example[:] = 0
        with torch.inference_mode():
            expected = flatten(network(torch.from_numpy(example)))
        try:
            found = session.run(None, {entry.name: example})
        except Exception as error:  # its exceptions have no common base class
            raise InputError(
                f"{name}: the exported file fails on a batch of {batch}: {first_line(error)}"
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
    """The tensors in a network's output, whatever its structure, in the exporter's order."""
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
    largest = float(np.abs(want).max())
    allowed = EXPORT_RELATIVE * np.abs(want) + EXPORT_ABSOLUTE * max(1.0, largest)
    if not (gap <= allowed).all():  # a NaN fails too
        raise InputError(
            f"{where} differs between PyTorch and ONNX Runtime by {float(gap.max()):.3g} "
            f"(values up to {largest:.3g}); the file is not kept"
        )
    return float(gap.max())
