"""What a detector says of views that come again: worked out once, kept on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from tvmkd.distill.answer_cache import AnswerCache, Part
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
        self._views = shape[1]
        self._cache: AnswerCache | None = None
        if folder is not None:
            parts = [Part(tuple(part.shape[1:])) for part in _flat(self._ask(network.blank))]
            known = json.dumps([identity, shape, self._wanted])
            self._cache = AnswerCache(folder, known, shape[0] * shape[1], parts)

    def answer(self, images: Tensor, indices: Sequence[int], view: int) -> Answers:
        """What it says of these views, float32.

        Args:
            images: ``[N, 3, size, size]``.
            indices: of the images in their split.
            view: which view of each it is.
        """
        if self._cache is None:
            return self._ask(images)
        rows = np.array(indices) * self._views + view
        found = self._cache.recall(rows, lambda missing: _flat(self._ask(images[missing])))
        device = images.device
        parts = [torch.from_numpy(array).float().to(device) for array in found]
        return Answers(parts[0], parts[1], parts[2:], self._wanted)

    def _ask(self, images: Tensor) -> Answers:
        network = self.network
        # No inference_mode: a loss may send the maps through layers that are trained.
        with torch.no_grad():
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
