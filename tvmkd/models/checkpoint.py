"""Checkpoints: one file, written whole or not at all, read without running anybody's code."""

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
    """A model at the end of an epoch, with what it takes to go on from there.

    Attributes:
        model: ``{"spec": str, "kwargs": dict}``, which `tvmkd.models.build` understands.
        state: the model's ``state_dict``.
        optimizer: the optimizer's and gradient scaler's state; None in a finished model.
        epoch: epochs done.
        rng: ``{"seed": int}``: every epoch starts from its own seed, which follows from this one.
        history: one ``{"epoch", "loss", ...}`` for each epoch.
        seconds: time spent in training.
        meta: strings that travel with the model: teacher, metric, data_sha256, preprocessing...
    """

    model: dict[str, Any]
    state: dict[str, Tensor]
    optimizer: dict[str, Any] | None = None
    epoch: int = 0
    rng: dict[str, int] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    meta: dict[str, str] = field(default_factory=dict)


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint in one step: a reader never sees half of it.

    Raises:
        InputError: the disk is full, or the folder cannot be written.
    """
    content = {"format": FORMAT, "version": VERSION, **vars(checkpoint)}
    packed = io.BytesIO()  # torch's own file writer replaces the error of a full disk by another
    torch.save(content, packed)
    write_bytes(path, packed.getbuffer())


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint onto the CPU.

    Raises:
        InputError: missing, damaged, not a checkpoint of ours, or from a newer tvmkd.
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
    """Whatever ``torch.save`` wrote, as long as it is tensors and plain data.

    Raises:
        InputError: missing, damaged, or holding objects that only code could read.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such checkpoint")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch errors of many kinds
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a checkpoint, or damaged: {text[:200]}") from None


def weights(path: Path) -> dict[str, Tensor]:
    """The weights in ``path``: a checkpoint of ours, a plain ``state_dict``, or one under
    ``state_dict`` or ``model``, as other trainers write them.

    Raises:
        InputError: the file cannot be read, or holds no weights.
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
    """Puts the weights from ``path``, in any form that `weights` reads, into ``model``.

    Raises:
        InputError: the file cannot be read, or its weights are not those of this model.
    """
    content = weights(path)
    try:
        model.load_state_dict(content)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not the weights of {name}: {reason}") from None


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """sha256 of a model's weights: names, shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\n".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
