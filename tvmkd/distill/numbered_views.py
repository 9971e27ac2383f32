"""Augmented images that come again: each is drawn from its image and its number alone."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from tvmkd.data.augment import each
from tvmkd.data.splits import Augment, Images, batches

KEPT_BYTES = 1 << 30  # up to this size all views are kept in memory, as float32


class NumberedViews:
    """Some views of each image of a split; the same numbers give the same pixels.

    Args:
        images: the split.
        change: the augmentation.
        seed: of what is random; with the image and the number of the view it determines the view.
        count: views of each image.
        shape: of an image: ``(C, H, W)``.
    """

    def __init__(
        self, images: Images, change: Augment, seed: int, count: int, shape: tuple[int, ...]
    ) -> None:
        self.images, self.change, self.seed, self.count = images, change, seed, count
        self._shape = (count, len(images.labels), *shape)
        self._keeps = 4 * int(np.prod(self._shape)) <= KEPT_BYTES
        self._kept: Tensor | None = None
        self._known = torch.zeros(self._shape[:2], dtype=torch.bool)

    def batches(
        self, order: Sequence[Tensor], view: int, *, light: bool = False
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yields views and labels for each tensor of indices in ``order``.

        Args:
            order: int64 ``[n]``, one tensor for each batch.
            view: number of the view, from 0.
            light: as for `tvmkd.data.splits.batches`.
        """
        if self._kept is not None and all(bool(self._known[view, part].all()) for part in order):
            for indices in order:
                yield self._kept[view, indices], self.images.labels[indices]
            return
        coming = iter(order)

        def make(pictures: Tensor) -> Tensor:
            indices = next(coming)  # steps of `batches` are called in order
            return self._remembered(self.make(pictures, indices, view), indices, view)

        with closing(batches(self.images, order, make, light=light)) as made:
            yield from made

    def make(self, pictures: Tensor, indices: Tensor, view: int) -> Tensor:
        """The views of some images.

        Args:
            pictures: those images, float32 ``[n, C, H, W]``, normalised.
            indices: their places in the split, int64 ``[n]``.
            view: number of the view.
        """
        generators = []
        for index in indices.tolist():
            (start,) = np.random.SeedSequence([self.seed, index, view]).generate_state(1)
            generators.append(torch.Generator().manual_seed(int(start)))
        return each(self.change, pictures, generators)

    def _remembered(self, views: Tensor, indices: Tensor, view: int) -> Tensor:
        if self._keeps:
            if self._kept is None:
                self._kept = torch.empty(self._shape)
            self._kept[view, indices] = views
            self._known[view, indices] = True
        return views
