"""What a teacher says of views that come again: worked out once, kept on disk."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from tvmkd.base.errors import InputError, full_disk
from tvmkd.distill.detector.losses import Answers, foreground
from tvmkd.models.detectors import BOX_WEIGHTS, Dense

MOST = 100  # of an image's answers: those that are surest that something is there


class Teacher:
    """A teacher that is asked, or whose answers are remembered.

    Args:
        network: in evaluation mode; its weights are not trained.
        features: places of the feature maps that are wanted.
        folder: where answers to views are kept, as float16; None: it is asked each time.
        identity: what the answers depend on beside the view: the weights, the data, how views are
            made.
        shape: images, and views of each.

    Raises:
        InputError: the folder cannot be written, or the disk has not enough room.
    """

    def __init__(
        self,
        network: Dense,
        features: Sequence[int],
        folder: Path | None = None,
        identity: str = "",
        shape: tuple[int, int] = (0, 0),
    ) -> None:
        self.network, self._wanted = network, tuple(features)
        self._known: list[NDArray[Any]] = []
        if folder is None:
            return
        name = hashlib.sha256(json.dumps([identity, shape, self._wanted]).encode()).hexdigest()[:16]
        place = folder / f"answers-{name}"
        try:
            place.mkdir(parents=True, exist_ok=True)
            views = shape[0] * shape[1]
            sample = [(views, *part.shape[1:]) for part in _flat(self._ask(network.blank))]
            _check_room(place, sample)
            self._known = [
                _array(place / f"{number}.npy", size, np.float16)
                for number, size in enumerate(sample)
            ]
            self._there = _array(place / "there.npy", (shape[0] * shape[1],), np.bool_)
        except OSError as error:
            raise full_disk(error, place) or InputError(
                f"{place}: cannot be written: {error.strerror}"
            ) from None
        self._views = shape[1]

    def answer(self, images: Tensor, indices: Sequence[int], view: int) -> Answers:
        """What it says of these views, float32.

        Args:
            images: ``[N, 3, size, size]``.
            indices: of the images in their split.
            view: which view of each it is.
        """
        if not self._known:
            return self._ask(images)
        rows = np.array(indices) * self._views + view
        missing = np.flatnonzero(~self._there[rows])
        if len(missing):
            found = _flat(self._ask(images[missing]))
            for array, part in zip(self._known, found, strict=True):
                array[rows[missing]] = part.cpu().numpy().astype(np.float16)
            # After what it stands for, so that a killed process leaves nothing half known.
            self._there[rows[missing]] = True
        device = images.device
        parts = [torch.from_numpy(array[rows]).float().to(device) for array in self._known]
        return Answers(parts[0], parts[1], parts[2:], self._wanted)

    def _ask(self, images: Tensor) -> Answers:
        network = self.network
        with torch.inference_mode():
            found = network.raw(images)
            logits = network.answers(found.logits)
            sure, _ = foreground(logits, network.activation == "softmax")
            best = sure.topk(min(MOST, sure.shape[1])).indices
            rows = torch.arange(len(best), device=best.device)[:, None]
            coder = BoxCoder(BOX_WEIGHTS[network.activation])
            offsets, anchors = found.offsets[rows, best], network.anchors[best]
            boxes = coder.decode_single(offsets.reshape(-1, 4), anchors.reshape(-1, 4))
            parts = boxes.reshape(offsets.shape) / network.size
        features = [found.features[place].float() for place in self._wanted]
        return Answers(logits[rows, best], parts, features, self._wanted)


def _flat(answers: Answers) -> list[Tensor]:
    return [answers.logits, answers.boxes, *answers.features]


def _check_room(place: Path, shapes: Sequence[tuple[int, ...]]) -> None:
    """Raises before a training if its answers cannot all be kept.

    A memory-mapped file is filled later, and a full disk would then kill the process.
    """
    needed = sum(2 * math.prod(shape) for shape in shapes)
    there = sum(path.stat().st_blocks * 512 for path in place.glob("*.npy"))
    free = shutil.disk_usage(place).free
    if needed - there > free:
        raise InputError(
            f"{place}: the teacher's answers need {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB "
            "are free; set a smaller detection.variants (0 keeps none), or another project.out"
        )


def _array(path: Path, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    """An array on disk, the one that is there or one of zeros."""
    try:
        found = open_memmap(path, mode="r+")
        if found.shape == shape and found.dtype == dtype:
            return found
    except (OSError, ValueError):
        pass
    return open_memmap(path, mode="w+", dtype=dtype, shape=shape)
