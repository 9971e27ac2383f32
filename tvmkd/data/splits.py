"""The interface of data sets: three splits of images, classes, preprocessing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from tvmkd.base.errors import InputError
from tvmkd.data.prefetch import Step, ahead

if TYPE_CHECKING:
    import numpy as np

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""From images ``[n, C, H, W]`` and a CPU generator to changed images of the same shape.

Called in a thread beside the training's: all randomness is from the generator.
"""


class Images(Protocol):
    """One split, in memory or decoded on access."""

    labels: Tensor
    """int64 ``[N]``"""
    in_memory: bool

    def get(self, indices: Tensor) -> Tensor:
        """The images at ``indices`` (int64 ``[n]``): float32 ``[n, C, H, W]``, normalised."""
        ...


class TensorImages:
    """Images in memory, as uint8 (0 to 255) or float32 (0 to 1), ``[N, C, H, W]``."""

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
        found = self._pixels[indices].float()
        return found.sub_(self._mean).div_(self._std)  # a new block takes more time than the sum


class Subset:
    """Some images of a split.

    Args:
        images: the split.
        indices: int64 ``[n]``, of the images in it.
    """

    def __init__(self, images: Images, indices: Tensor) -> None:
        self._images, self._indices = images, indices
        self.labels = images.labels[indices]
        self.in_memory = images.in_memory

    def get(self, indices: Tensor) -> Tensor:
        """The images at ``indices`` of the subset: float32, normalised."""
        return self._images.get(self._indices[indices])

    def steps(self) -> list[Step]:
        """What `get` does, as the steps of a pipeline."""
        first, *others = loading(self._images)
        return [lambda indices: first(self._indices[indices]), *others]


def loading(images: Images) -> list[Step]:
    """The steps of a pipeline from indices to what ``get`` returns.

    Images that decode several batches at a time have a method ``steps``: the first one starts the
    work, the last one waits for it.
    """
    steps: Callable[[], list[Step]] | None = getattr(images, "steps", None)
    return [images.get] if steps is None else steps()


def evenly(labels: Tensor, count: int) -> Tensor:
    """Chooses images so that classes differ by one at most, where each has enough of them.

    Args:
        labels: int64 ``[N]``.
        count: how many, at most N.

    Returns:
        Sorted indices, int64 ``[count]``; within a class they are evenly spaced.
    """
    classes = [(labels == label).nonzero().flatten() for label in sorted(set(labels.tolist()))]
    # The first image of each class, then the second of each that has one, and so on.
    turns = [(turn, number) for number, found in enumerate(classes) for turn in range(len(found))]
    shares = Counter(number for _, number in sorted(turns)[:count])
    chosen = [
        members[torch.linspace(0, len(members) - 1, shares[number]).round().long()]
        for number, members in enumerate(classes)
    ]
    return torch.cat(chosen).sort().values


@dataclass(frozen=True)
class Splits:
    """A data set with fixed splits.

    ``preprocessing`` is JSON-safe: the steps that a device must apply to a picture before the
    model. ``sha256`` covers images, labels and the split.
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

    def fewer(self, count: int) -> Splits:
        """The same with some of the training images, evenly by class.

        Raises:
            InputError: there are not that many.
        """
        have = len(self.train.labels)
        if count > have:
            raise InputError(f"student.images is {count}, but the training split has {have} images")
        digest = hashlib.sha256(f"{self.sha256} {count}".encode()).hexdigest()
        train = Subset(self.train, evenly(self.train.labels, count))
        return replace(self, train=train, sha256=digest)

    def sample(
        self, count: int = 8, split: Literal["train", "val", "test"] = "test"
    ) -> np.ndarray[Any, Any]:
        """Real inputs, evenly spread over a split: float32 ``[count, C, H, W]``.

        Returns fewer if the split is smaller.
        """
        images: Images = getattr(self, split)
        size = len(images.labels)
        picks = torch.linspace(0, size - 1, min(count, size)).round().long()
        return images.get(picks).numpy()


def batches(
    images: Images, order: Sequence[Tensor], change: Step | None = None, *, light: bool = False
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Yields ``(images, labels)`` for each tensor of indices in ``order``.

    Images that must be decoded or changed are prepared some batches ahead, in threads. If the loop
    over the result may end early, close it, see `ahead`.

    Args:
        images: the split.
        order: int64 ``[n]``, one tensor per batch.
        change: applied to the images of each batch, in order.
        light: ``change`` is cheap, so that a thread, which competes with the caller for the GIL,
            does not pay. Images in memory are then changed in the caller's thread.
    """
    if images.in_memory and (change is None or light):
        for indices in order:
            pictures = images.get(indices)
            yield pictures if change is None else change(pictures), images.labels[indices]
        return
    steps = loading(images)
    if change is not None:
        steps.append(change)
    with closing(ahead(order, steps)) as coming:
        for pictures, indices in zip(coming, order, strict=True):
            yield pictures, images.labels[indices]
