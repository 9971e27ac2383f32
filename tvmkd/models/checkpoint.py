"""Checkpoints: one file, written atomically, read without executing code from it."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tvmkd.base.errors import InputError
from tvmkd.base.files import write_bytes
from tvmkd.base.text import first_line
from tvmkd.models import state_dicts

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
    """Reads a file written by ``torch.save`` that has only tensors and plain data, or safetensors.

    Raises:
        InputError: the file is missing or damaged, or contains objects that need code to be
            unpickled.
    """
    if not path.is_file():
        what = (
            "is a folder; give the file in it" if path.is_dir() else "there is no such checkpoint"
        )
        raise InputError(f"{path}: {what}")
    try:
        if _is_safetensors(path):
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_numbers()):
            warnings.simplefilter("ignore")  # of TorchScript, which is refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch errors of many types
        raise InputError(f"{path}: {_unreadable(path, error)}") from None


def _numbers() -> list[Any]:
    """What NumPy's scalars and arrays are pickled with: trainers save the best accuracy as one."""
    scalar, made = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
    kinds = [type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]
    old = "numpy.core.multiarray"  # of NumPy 1
    functions = [(scalar, f"{old}.scalar"), (made, f"{old}._reconstruct")]
    return [scalar, made, np.ndarray, np.dtype, *kinds, *functions]


def _is_safetensors(path: Path) -> bool:
    """By the first bytes: the length of a JSON header, then the header."""
    with path.open("rb") as stream:
        start = stream.read(9)
    return len(start) == 9 and start[8:] == b"{" and not start.startswith((b"PK", b"\x80"))


def _unreadable(path: Path, error: Exception) -> str:
    """Why a file is no checkpoint, and what to do, in one line."""
    text = str(error)
    with path.open("rb") as stream:
        start = stream.read(64)
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file itself: run git lfs pull"
    way = 'in the program that made it, call torch.save(model.state_dict(), "weights.pt")'
    if "TorchScript" in text:
        return f"is a TorchScript program, not weights: {way} and give that file"
    found = re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+)", text)
    if found is not None:
        return (
            f"not a checkpoint of weights alone: it holds Python objects ({found[1]}), and reading "
            f"them would run code from the file; {way} and give that file"
        )
    if "legacy .tar" in text:
        return "is in PyTorch's format of 2016: load it once with torch.load and save it again"
    return f"not a checkpoint, or damaged: {first_line(error)}"


def weights(path: Path, wanted: Mapping[str, torch.Size] | None = None) -> dict[str, Tensor]:
    """The weights in ``path``: a checkpoint of ours, or any form that `state_dicts` knows.

    Args:
        path: the file.
        wanted: name and shape of each weight of the model; of several that the file may hold, those
            that fit best are returned, under these names.

    Raises:
        InputError: the file cannot be read, or contains no weights.
    """
    content = read(path)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        content = content.get("state")
    found = state_dicts.find(content)
    if not found:
        keys = ", ".join(map(str, list(content)[:6])) if isinstance(content, dict) else ""
        inside = f"keys {keys}" if keys else f"a {type(content).__name__}"
        raise InputError(
            f"{path}: holds no state_dict ({inside}); save model.state_dict() with torch.save"
        )
    return found[0] if wanted is None else state_dicts.best(found, wanted)


def load_weights(model: nn.Module, path: Path, name: str) -> None:
    """Loads the weights from ``path``, in any form that `weights` reads, into ``model``.

    Raises:
        InputError: the file cannot be read, its weights do not fit this model, or they hold NaN.
    """
    content = weights(path, state_dicts.shapes(model))
    problem = state_dicts.problem(model, content)
    if problem is not None:
        raise InputError(f"{path}: not the weights of {name}: {problem}")
    try:
        model.load_state_dict(content)
    except RuntimeError as error:  # a model with a load_state_dict of its own
        raise InputError(f"{path}: not the weights of {name}: {first_line(error)}") from None
    problem = state_dicts.broken(model)
    if problem is not None:
        raise InputError(
            f"{path}: {problem}: the training that wrote it failed; give an earlier checkpoint"
        )


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of a model's weights: names, shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\n".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
