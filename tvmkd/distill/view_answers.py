"""A classifier's logits for numbered views, cached; of many classes the likeliest ones."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tvmkd.distill.answer_cache import AnswerCache, Part
from tvmkd.distill.probe import logits_of
from tvmkd.distill.task import Batch

MOST = 100  # logits of a view: those of the likeliest classes


class ViewAnswers:
    """The logits of a teacher for the views of a training, each computed once.

    With more than ``most`` classes the logits of the likeliest ones are kept, and one number for
    the others: with it all of them together have the probability that the teacher gives them.

    Args:
        teacher: in evaluation mode.
        folder: for the cache.
        identity: what the logits depend on beside the view, JSON-safe.
        shape: number of images, of views of each, and of classes.
        most: logits of a view that are kept; None: all.

    Raises:
        InputError: as `AnswerCache`.
    """

    def __init__(
        self,
        teacher: nn.Module,
        folder: Path,
        identity: Any,
        shape: tuple[int, int, int],
        most: int | None = MOST,
    ) -> None:
        images, self._views, self._classes = shape
        self._teacher = teacher
        self._most = most if most is not None and most < self._classes else None
        parts = [Part((self._classes,))]
        if self._most is not None:
            parts = [Part((self._most,)), Part((self._most,), "int32"), Part((1,))]
        known = json.dumps(["logits", identity, shape, self._most], sort_keys=True)
        self._cache = AnswerCache(folder, known, images * self._views, parts)

    def __call__(self, batch: Batch) -> Tensor:
        """Float32 logits ``[n, classes]`` for a batch of views, on its device."""
        rows = batch.indices.numpy() * self._views + batch.view

        def ask(places: NDArray[np.intp]) -> Sequence[Tensor]:
            with torch.inference_mode():
                missing = torch.from_numpy(places).to(batch.images.device)
                logits = logits_of(self._teacher(batch.images[missing])).float()
                return [logits] if self._most is None else likeliest(logits, self._most)

        found = [torch.from_numpy(part) for part in self._cache.recall(rows, ask)]
        found = [part.to(batch.images.device) for part in found]
        if self._most is None:
            return found[0].float()
        return restored(found[0].float(), found[1].long(), found[2].float(), self._classes)


def likeliest(logits: Tensor, count: int) -> list[Tensor]:
    """The largest logits, their classes, and the one logit that stands for each of the others.

    Args:
        logits: float32 ``[n, classes]``.
        count: less than ``classes``.

    Returns:
        ``[n, count]``, int64 ``[n, count]``, ``[n, 1]``. The last is the mean of the others on the
        scale of probabilities.
    """
    values, places = logits.topk(count)
    others = logits.scatter(1, places, -math.inf).logsumexp(1, keepdim=True)
    return [values, places, others - math.log(logits.shape[1] - count)]


def restored(values: Tensor, places: Tensor, others: Tensor, classes: int) -> Tensor:
    """The logits ``[n, classes]`` that `likeliest` made these of, equal for all the others."""
    return others.expand(-1, classes).scatter(1, places, values)
