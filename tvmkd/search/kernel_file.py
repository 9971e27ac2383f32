"""ONNX files of networks that are not trained, for their kernels in the precision of a config."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from tvmkd.base import files
from tvmkd.base.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from tvmkd.config import Config


def write(network: nn.Module, images: np.ndarray, cfg: Config, path: Path) -> Path:
    """Writes a network with random weights; its kernels are those of the trained one.

    In int8 the scales of activations are not calibrated: see `tvmkd.search.canonical`.

    Args:
        network: stays as it is.
        images: inputs that show which ranges have negative numbers: float32 ``[N, ...]``.
        cfg: of the network: ``[export] precision``, and ``keep_fp32`` of it or of ``[quantize]``.
        path: the file to write.

    Returns:
        ``path``.

    Raises:
        InputError: the network cannot be exported, or not in this precision.
    """
    from tvmkd.export import half, qdq
    from tvmkd.search import canonical
    from tvmkd.search.latency import skeleton

    shape = (1, *images.shape[1:])
    with files.draft(path, ".onnx") as draft:
        if cfg.export.precision == "fp32":
            skeleton.write(network, shape, draft)
            return path
        plain = draft.with_suffix(".fp32.onnx")
        try:
            skeleton.write(network, shape, plain)
            if cfg.export.precision == "fp16":
                half.half(plain, draft, _nodes(plain, cfg.export.keep_fp32), images)
            else:
                kept = cfg.quantize.keep_fp32 if cfg.quantize else []
                qdq.quantize(plain, draft, images, _nodes(plain, kept))
                canonical.rescale(draft)
        finally:
            plain.unlink(missing_ok=True)
    return path


def _nodes(path: Path, layers: Sequence[str]) -> list[str]:
    """The nodes of layers that are named by the paths of their modules.

    torch's TorchScript exporter names a node after the modules that it is in:
    ``/features/features.3/block/block.0/Conv``. A file of the other exporter keeps the paths.

    Raises:
        InputError: there is no such layer.
    """
    if not layers:
        return []
    names = [node.name for node in onnx.load(os.fspath(path)).graph.node]
    if not any(name.startswith("/") for name in names):
        return list(layers)
    found = []
    for layer in layers:
        inside = [name for name in names if f"{_module(name)}.".startswith(f"{layer}.")]
        if not inside:
            raise InputError(f'keep_fp32: there is no layer "{layer}"')
        found += inside
    return found


def _module(name: str) -> str:
    """The path of the module that a node is in."""
    parts: list[str] = []
    before = ""
    for part in name.split("/")[1:-1]:
        parts.append(part.removeprefix(f"{before}."))
        before = part
    return ".".join(parts)
