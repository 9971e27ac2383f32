"""Checkpoints: one file, written atomically, read without executing code from it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tvmkd.base.errors import InputError
from tvmkd.base.files import write_bytes

FORMAT, VERSION = "tvmkd.checkpoint", 1


@dataclass
class Checkpoint:
    """A model at the end of an epoch, with the state needed to resume training.

    Attributes:
        model: ``{"spec": str, "kwargs": dict}``, the arguments of `tvmkd.models.build`.
        state: the model's ``state_dict``.
        optimizer: the optimizer's and gradient scaler's state; None in a finished model.
        epoch: number of completed epochs.
        rng: ``{"seed": int}``: the seed of each epoch is derived from it.
        history: one ``{"epoch", "loss", ...}`` per epoch.
        seconds: training time.
        meta: strings stored with the model: teacher, metric, data_sha256, preprocessing...
    """

    model: dict[str, Any]
    state: dict[str, Tensor]
    optimizer: dict[str, Any] | None = None
    epoch: int = 0
    rng: dict[str, int] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    meta: dict[str, str] = field(default_factory=dict)


def description(meta: Mapping[str, str]) -> dict[str, str]:
    """The part of a checkpoint's ``meta`` that an ONNX file of the network repeats."""
    return {key: value for key, value in meta.items() if key not in ("training", "input_shape")}


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint atomically.

    Raises:
        InputError: the disk is full, or the folder cannot be written.
    """
    content = {"format": FORMAT, "version": VERSION, **vars(checkpoint)}
    packed = io.BytesIO()  # torch's file writer would hide the error of a full disk
    torch.save(content, packed)
    write_bytes(path, packed.getbuffer())


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint onto the CPU.

    Raises:
        InputError: the file is missing, damaged, not a checkpoint of tvmkd, or from a newer tvmkd.
    """
    content = read(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: not a tvmkd checkpoint; tvmkd distill writes them")
    if content.get("version") != VERSION:
        raise InputError(
            f"{path}: checkpoint version {content.get('version')}; this tvmkd reads {VERSION}: "
            "update tvmkd"
        )
    try:
        return Checkpoint(**{name: content[name] for name in Checkpoint.__dataclass_fields__})
    except KeyError as error:
        raise InputError(f"{path}: a damaged checkpoint: {error} is missing") from None


def read(path: Path) -> Any:
    """Reads a file written by ``torch.save`` that has only tensors and plain data.

    Raises:
        InputError: the file is missing or damaged, or contains objects that need code to be
            unpickled.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such checkpoint")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch errors of many types
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a checkpoint, or damaged: {text[:200]}") from None


def weights(path: Path) -> dict[str, Tensor]:
    """The weights in ``path``: a checkpoint of ours, a plain ``state_dict``, or one under
    ``state_dict`` or ``model``, as other trainers write them.

    Raises:
        InputError: the file cannot be read, or contains no weights.
    """
    content = read(path)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        content = content.get("state")
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(f"{path}: holds no state_dict")
    return {key.removeprefix("module."): tensor for key, tensor in content.items()}


def load_weights(model: nn.Module, path: Path, name: str) -> None:
    """Loads the weights from ``path``, in any form that `weights` reads, into ``model``.

    Raises:
        InputError: the file cannot be read, or its weights do not fit this model.
    """
    content = weights(path)
    try:
        model.load_state_dict(content)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not the weights of {name}: {reason}") from None


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of a model's weights: names, shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\n".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
