"""What every dataset looks like to the rest: three splits of images, classes, preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy as np

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""From images ``[n, C, H, W]`` and a CPU generator to changed images of the same shape."""


class Images(Protocol):
    """One split. Held in memory or decoded when asked for."""

    labels: Tensor
    """int64 ``[N]``"""
    in_memory: bool

    def get(self, indices: Tensor) -> Tensor:
        """The images at ``indices`` (int64 ``[n]``): float32 ``[n, C, H, W]``, normalised."""
        ...


class TensorImages:
    """Images that lie in memory, as uint8 (0 to 255) or float32 (0 to 1), ``[N, C, H, W]``."""

    in_memory = True

    def __init__(
        self, pixels: Tensor, labels: Tensor, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self.labels = labels
        self._pixels = pixels
        scale = 255.0 if pixels.dtype == torch.uint8 else 1.0
        self._mean = torch.tensor(mean).view(1, -1, 1, 1) * scale
        self._std = torch.tensor(std).view(1, -1, 1, 1) * scale

    def get(self, indices: Tensor) -> Tensor:
        """The images at ``indices``: float32, normalised."""
        return (self._pixels[indices].float() - self._mean) / self._std


@dataclass(frozen=True)
class Splits:
    """A dataset, split once and for all.

    ``preprocessing`` is plain JSON data: what a device has to do to a picture before the model
    sees it. ``sha256`` covers images, labels and the split.
    """

    train: Images
    val: Images
    test: Images
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, int]
    preprocessing: dict[str, Any]
    sha256: str
    augment: Augment | None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of one input, batch 1: ``(1, C, H, W)``."""
        return (1, self.channels, *self.size)

    def sample(
        self, count: int = 8, split: Literal["train", "val", "test"] = "test"
    ) -> np.ndarray[Any, Any]:
        """Real inputs, evenly spread over a split: float32 ``[count, C, H, W]``.

        There are fewer if the split is smaller.
        """
        images: Images = getattr(self, split)
        size = len(images.labels)
        picks = torch.linspace(0, size - 1, min(count, size)).round().long()
        return images.get(picks).numpy()


def batches(images: Images, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields ``(images, labels)`` for each tensor of indices in ``order``.

    Images that have to be decoded are fetched one batch ahead, while the caller computes.
    """
    if images.in_memory:
        for indices in order:
            yield images.get(indices), images.labels[indices]
        return
    with ThreadPoolExecutor(1, thread_name_prefix="tvmkd-batch") as pool:
        coming = [pool.submit(images.get, indices) for indices in order[:1]]
        for position, indices in enumerate(order):
            ready = coming.pop().result()
            coming += [pool.submit(images.get, after) for after in order[position + 1 :][:1]]
            yield ready, images.labels[indices]
