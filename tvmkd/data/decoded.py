"""Splits of pictures that have to be decoded, wherever they are stored."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tvmkd.base.errors import InputError
from tvmkd.base.images import UnreadableImage, together
from tvmkd.data import augment
from tvmkd.data.decode_pool import DecodePool, Pending
from tvmkd.data.pictures import MOST_DECODED, Decoder, Picture, damaged, is_gray
from tvmkd.data.prefetch import Step
from tvmkd.data.splits import Images, Splits, TensorImages

if TYPE_CHECKING:
    from tvmkd.config import Data

CACHE_BYTES = 1 << 30  # up to this size all three splits are decoded once and kept as bytes
# ImageNet's constants: pretrained teachers expect them.
NORMS = {1: ([0.449], [0.226]), 3: ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])}

Parts = Mapping[str, Sequence[tuple[Picture, int]]]
"""The pictures of ``train``, ``val`` and ``test`` with their class numbers, in a fixed order."""
Digest = Callable[[tuple[int, int]], str]
"""From the size and the channels of the images to the hash of the data."""


class DecodedImages:
    """Some of the pictures of a pool, decoded on each access.

    Args:
        labels: int64 ``[N]``.
        first: place of the first picture in the pool.
        pool: decodes the pictures of all splits.
        channels: of the images.
        every: of all splits: if one cannot be decoded, all that cannot are named.
        decoder: for that.
    """

    in_memory = False

    def __init__(
        self,
        labels: Tensor,
        first: int,
        pool: DecodePool,
        every: Sequence[Picture],
        decoder: Decoder,
    ) -> None:
        self.labels = labels
        self._first, self._pool = first, pool
        self._every, self._decoder = every, decoder
        self._norms = NORMS[decoder.channels]

    def pixels(self, indices: Tensor) -> Tensor:
        """uint8 ``[n, C, H, W]``.

        Raises:
            InputError: a picture is damaged (names all that are), or a process was killed.
        """
        return self._finish(self._start(indices))

    def get(self, indices: Tensor) -> Tensor:
        """The images at ``indices``: float32 ``[n, C, H, W]``, normalised."""
        return self._normalised(self._start(indices))

    def steps(self) -> list[Step]:
        """What `get` does in two: the first has batches decoded, the second waits for one."""
        return [self._start, self._normalised]

    def in_ram(self) -> TensorImages:
        """The same images, decoded into memory."""
        pixels = self.pixels(torch.arange(len(self.labels)))
        return TensorImages(pixels, self.labels, *self._norms)

    def _start(self, indices: Tensor) -> Pending:
        return self._pool.start((indices + self._first).tolist())

    def _finish(self, pending: Pending) -> Tensor:
        try:
            return torch.from_numpy(self._pool.finish(pending))
        except UnreadableImage as error:
            raise together(damaged(self._every[:MOST_DECODED], self._decoder) or [error]) from None

    def _normalised(self, pending: Pending) -> Tensor:
        pixels = self._finish(pending)
        everything = torch.arange(len(pixels))
        return TensorImages(pixels, everything, *self._norms).get(everything)


def make_splits(
    cfg: Data,
    classes: Sequence[str],
    parts: Parts,
    digest: Digest,
    unread: Callable[[], Sequence[Picture]] | None = None,
) -> Splits:
    """The data set of listed pictures: decoded once if they fit, otherwise on each access.

    Images are scaled until the shorter side fits, then cropped at the centre.

    Args:
        cfg: size, channels, workers, augmentation.
        classes: their names.
        parts: the pictures of each split.
        digest: of the data.
        unread: gives the pictures whose headers nobody has read yet; None: all.

    Raises:
        InputError: an empty split, or pictures that cannot be read (the message names them).
    """
    for name, files in parts.items():
        if not files:
            raise InputError(
                f"{cfg.path}: no images for the {name} split; add images or change "
                "[data] val_fraction and test_fraction"
            )
    every = [picture for files in parts.values() for picture, _ in files]
    size = cfg.image_size
    channels = cfg.channels or _channels(every, size)
    decoder = Decoder(size, channels)
    shape = (channels, size, size)
    fits = len(every) * channels * size**2 <= CACHE_BYTES
    broken = [] if fits else damaged(unread() if unread else every)  # the others are decoded below
    if broken:
        raise together(broken)
    pool = DecodePool(decoder, every, shape, workers(cfg), processes=not fits)
    images: dict[str, Images] = {}
    starts = accumulate((len(files) for files in parts.values()), initial=0)
    for (name, files), start in zip(parts.items(), starts, strict=False):
        labels = torch.tensor([label for _, label in files], dtype=torch.int64)
        lazy = DecodedImages(labels, start, pool, every, decoder)
        images[name] = lazy.in_ram() if fits else lazy
    if fits:
        pool.close()
    mean, std = NORMS[channels]
    return Splits(
        **images,
        classes=tuple(classes),
        channels=channels,
        size=(size, size),
        preprocessing={
            "color": "gray" if channels == 1 else "RGB",
            "scale": 1 / 255,
            "resize_shorter_side": size,
            "crop_center": [size, size],
            "interpolation": "bilinear, antialiased",
            "mean": mean,
            "std": std,
            "layout": "NCHW",
        },
        sha256=digest((size, channels)),
        augment=augment.named(cfg, mean, std),
    )


def workers(cfg: Data) -> int:
    """How many pictures are decoded at a time: ``[data] workers``, or one a core.

    Processes that torchrun started share the cores.
    """
    if cfg.workers:
        return cfg.workers
    team = os.environ.get("LOCAL_WORLD_SIZE", "1")
    share = int(team) if team.isdecimal() else 1
    return max(1, len(os.sched_getaffinity(0)) // max(1, share))


def _channels(pictures: Sequence[Picture], size: int) -> int:
    """1 if about thirty images, evenly spread, are all gray, otherwise 3."""
    picks = {round(place) for place in np.linspace(0, len(pictures) - 1, 32)}
    try:
        return 1 if all(is_gray(pictures[index]) for index in sorted(picks)) else 3
    except UnreadableImage as error:
        found = damaged(pictures[:MOST_DECODED], Decoder(size, 3))
        raise together(found or [error]) from None
