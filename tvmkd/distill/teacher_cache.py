"""A teacher's answers to the training images as they are, worked out once and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from tvmkd.base.files import draft, source_hash
from tvmkd.data.splits import Splits, batches
from tvmkd.distill.distributed import Team
from tvmkd.distill.probe import logits_of
from tvmkd.models import checkpoint

if TYPE_CHECKING:
    from tvmkd.config import Config
    from tvmkd.config.sections import Assistant, Teacher

BATCH = 256


def fingerprint(cfg: Config, teacher: nn.Module, search_in: Sequence[Path] = ()) -> str:
    """Identifies what students learn from: its weights, its arguments and a user's code.

    Args:
        cfg: uses the section teacher.
        teacher: all that is asked, as one network.
        search_in: folders to look in for a ``module:callable``.
    """
    networks: list[Teacher | Assistant] = [*cfg.teacher.members, *cfg.teacher.assistants]
    facts = [[one.model, one.args, source_hash(one.model, search_in)] for one in networks]
    text = json.dumps([checkpoint.fingerprint(teacher.state_dict()), facts], default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def logits(
    teacher: nn.Module, fingerprint: str, splits: Splits, folder: Path, team: Team
) -> Tensor:
    """The teacher's logits: float32 ``[N, classes]``, in the order of the training split.

    They are those of the images without augmentation, with the teacher in evaluation mode.

    Args:
        fingerprint: of the teacher; with the data's hash it names the file.
        folder: where the file is, or is written by the leading process.

    Raises:
        InputError: the file cannot be written.
    """
    name = hashlib.sha256(f"{fingerprint} {splits.sha256}".encode()).hexdigest()[:16]
    path = folder / f"logits-{name}.npy"
    shape = (len(splits.train.labels), len(splits.classes))
    found = _read(path, shape)
    if found is None:
        found = _ask(teacher, splits, team.device)
        if team.leader:
            _write(path, found)
    team.wait()
    return torch.from_numpy(found)


def confidence(answers: Tensor, labels: Tensor) -> Tensor:
    """The probability of each image's own class: float32 ``[N]``."""
    return answers.softmax(1).gather(1, labels[:, None]).squeeze(1)


def _ask(teacher: nn.Module, splits: Splits, device: torch.device) -> np.ndarray:
    mode = teacher.training
    order = torch.split(torch.arange(len(splits.train.labels)), BATCH)
    found = []
    with torch.inference_mode():
        teacher.eval()
        for images, _ in batches(splits.train, order):
            images = images.to(device, memory_format=torch.channels_last)
            found.append(logits_of(teacher(images)).float().cpu())
    teacher.train(mode)
    return torch.cat(found).numpy()


def _read(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    try:
        found: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError):  # missing, or half of it
        return None
    return found if found.shape == shape and found.dtype == np.float32 else None


def _write(path: Path, found: np.ndarray) -> None:
    with draft(path, ".npy") as written:
        np.save(written, found)
