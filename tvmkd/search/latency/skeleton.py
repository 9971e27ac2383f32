"""Writes a network as an ONNX file whose weights do not matter, for its kernels alone."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from onnxscript import ir, optimizer
from torch import Tensor, nn

from tvmkd.base import user_code
from tvmkd.base.errors import InputError
from tvmkd.export.onnx import INPUT
from tvmkd.models.reparameterize import fused
from tvmkd.search.latency import symbolics

STATISTICS = ("running_mean", "running_var")
"""Buffers that training changes."""


def write(model: nn.Module, shape: Sequence[int], path: Path) -> Path:
    """Writes ``model`` to ``path`` with random weights; the module is left as it is.

    Branches for its training are fused, as the export of the trained network does.

    The kernels are those of the trained network. They would not be with the weights of a new one:
    its biases are zero, and exporters leave out what adds nothing. torch's TorchScript exporter
    takes a twentieth of the other's time and gives the same kernels; the other one is used for what
    it cannot trace.

    Args:
        model: any network with one float32 input.
        shape: of the input, batch first.
        path: the ONNX file to write.

    Raises:
        InputError: the network does not run on an input of this shape, or cannot be exported.
    """
    example = torch.zeros(tuple(shape))
    try:
        network = _generic(fused(model, shape))
        with torch.no_grad():
            network(example)
    except Exception as error:  # reports any error of the user's code in one line
        why = user_code.describe(error, __file__)
        size = "×".join(map(str, shape))
        raise InputError(f"{type(model).__name__}: fails on an input of {size}: {why}") from error
    errors = []
    for dynamo in (False, True):
        try:
            with _quiet(), symbolics.replaced(), _plain_attention():
                torch.onnx.export(
                    network,
                    (example,),
                    os.fspath(path),
                    input_names=[INPUT],
                    opset_version=symbolics.OPSET,
                    dynamo=dynamo,
                    external_data=False,
                    verbose=False,
                )
                if not dynamo:
                    _optimise(path)
            return path
        except Exception as error:  # of any class, as the exporters raise
            errors.append(error)
    path.unlink(missing_ok=True)
    lines = str(errors[-1]).strip().splitlines() or [type(errors[-1]).__name__]
    raise InputError(f"{type(model).__name__}: torch cannot export it to ONNX ({lines[0][:300]})")


def _optimise(path: Path) -> None:
    """Does to a file of the TorchScript exporter what the other one does to its own."""
    model = ir.load(path)
    optimizer.optimize(model)
    ir.save(model, path)


def _generic(model: nn.Module) -> nn.Module:
    """A copy for inference in which no weight is special, such as 0 or equal to another.

    Of the buffers only running statistics are learnt; others, such as an image's mean, stay.
    """
    network = copy.deepcopy(model).cpu().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            learnt = isinstance(tensor, nn.Parameter) or name.endswith(STATISTICS)
            if learnt and tensor.is_floating_point():
                drawn: Tensor = torch.rand(tensor.shape, generator=generator) + 0.5
                if "var" not in name:  # a variance stays positive
                    drawn = (drawn - 1.0) * 0.2
                tensor.copy_(drawn)
    return network.requires_grad_(False)


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Without the operator that torch computes attention with where no gradient is asked for.

    No exporter knows it, and trained networks, whose weights have gradients, are exported without.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' warnings and progress lines."""
    previous: Any = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        # Where it fails, the exporter writes its whole graph to file descriptor 1.
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(None),
            mock.patch.object(torch._C, "_jit_onnx_log"),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
