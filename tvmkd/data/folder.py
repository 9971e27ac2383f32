"""A folder of images with one sub-folder per class, with or without given splits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tvmkd.base.errors import InputError
from tvmkd.base.images import UnreadableImage, known, together
from tvmkd.base.text import printable
from tvmkd.base.walk import files_below
from tvmkd.data import augment, layout
from tvmkd.data.left_out import LeftOut
from tvmkd.data.pictures import MOST_DECODED, Decoder, damaged, is_gray
from tvmkd.data.splits import Images, Splits, TensorImages

if TYPE_CHECKING:
    from tvmkd.config import Data

CACHE_BYTES = 1 << 30  # up to this size all three splits are decoded once and kept as bytes
HASH_BYTES = 4 << 30  # up to this size the data hash covers file contents, not only sizes
# ImageNet's constants: pretrained teachers expect them.
NORMS = {1: ([0.449], [0.226]), 3: ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])}

Listing = list[tuple[Path, int]]
"""Files with their class numbers, in a fixed order."""


class FileImages:
    """Images that are decoded on each access, by a few threads.

    Args:
        files: of this split.
        decoder: decodes one.
        threads: how many decode at a time.
        every: of all splits: if one cannot be decoded, all that cannot are named.
    """

    in_memory = False

    def __init__(
        self, files: Listing, decoder: Decoder, threads: int, every: Sequence[Path] = ()
    ) -> None:
        self.labels = torch.tensor([label for _, label in files], dtype=torch.int64)
        self._paths = [path for path, _ in files]
        self._every = every or self._paths
        self._decoder = decoder
        self._norms = NORMS[decoder.channels]
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tvmkd-decode")

    def pixels(self, indices: Tensor) -> Tensor:
        """uint8 ``[n, C, H, W]``. Pillow releases the GIL while it decodes.

        Raises:
            InputError: a picture is damaged; names all that are.
        """
        paths = [self._paths[index] for index in indices.tolist()]
        side = self._decoder.size
        pixels = np.empty((len(paths), self._decoder.channels, side, side), np.uint8)
        try:
            for place, picture in enumerate(self._pool.map(self._decoder, paths)):
                pixels[place] = picture
        except UnreadableImage as error:
            raise together(damaged(self._every[:MOST_DECODED], self._decoder) or [error]) from None
        return torch.from_numpy(pixels)

    def get(self, indices: Tensor) -> Tensor:
        """The images at ``indices``: float32 ``[n, C, H, W]``, normalised."""
        pixels = self.pixels(indices)
        return TensorImages(pixels, self.labels[indices], *self._norms).get(
            torch.arange(len(pixels))
        )

    def in_ram(self) -> TensorImages:
        """The same images, decoded into memory."""
        pixels = self.pixels(torch.arange(len(self._paths)))
        self._pool.shutdown()
        return TensorImages(pixels, self.labels, *self._norms)


def load_folder(cfg: Data) -> Splits:
    """Loads the images under ``cfg.path``, which has one of two layouts.

    ``path/train/CLASS/*`` and ``path/test/CLASS/*``, optionally with ``path/val/CLASS/*``: if only
    one of ``val`` and ``test`` exists, it becomes the test split, and a validation split is taken
    from ``train``. Or ``path/CLASS/*``: each class is split by the fractions, with ``split_seed``.
    Other names of the splits and other ways to nest the folders are known, too, see `layout.find`.
    Links are followed; hidden files, and files that are no pictures, are counted in one line.
    Images are scaled until the shorter side fits, then cropped at the centre.

    Raises:
        InputError: no such folder, fewer than two classes, an empty class or split, splits with
            different classes, or images that cannot be read (the message names the files).
    """
    assert cfg.path is not None
    root = cfg.path
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; set [data] path")
    classes, parts = _splits(cfg, root)
    for name, files in parts.items():
        if not files:
            raise InputError(
                f"{root}: no images for the {name} split; add images or change "
                "[data] val_fraction and test_fraction"
            )
    everything = [path for files in parts.values() for path, _ in files]
    channels = cfg.channels or _channels(everything, cfg.image_size)
    decoder = Decoder(cfg.image_size, channels)
    threads = cfg.workers or os.cpu_count() or 1
    images: dict[str, Images] = {}
    fits = len(everything) * channels * cfg.image_size**2 <= CACHE_BYTES
    broken = [] if fits else damaged(everything)  # those in memory are decoded below
    if broken:
        raise together(broken)
    for name, files in parts.items():
        lazy = FileImages(files, decoder, threads, everything)
        images[name] = lazy.in_ram() if fits else lazy
    mean, std = NORMS[channels]
    return Splits(
        **images,
        classes=tuple(classes),
        channels=channels,
        size=(cfg.image_size, cfg.image_size),
        preprocessing={
            "color": "gray" if channels == 1 else "RGB",
            "scale": 1 / 255,
            "resize_shorter_side": cfg.image_size,
            "crop_center": [cfg.image_size, cfg.image_size],
            "interpolation": "bilinear, antialiased",
            "mean": mean,
            "std": std,
            "layout": "NCHW",
        },
        sha256=_digest(root, parts, (cfg.image_size, channels)),
        augment=augment.named(cfg, mean, std),
    )


def _splits(cfg: Data, root: Path) -> tuple[list[str], dict[str, Listing]]:
    """Class names, and the files of ``train``, ``val`` and ``test``."""
    rng = np.random.default_rng(cfg.split_seed)
    classes, everything, counts = _scan(root)
    files = iter(everything)
    parts = {name: list(islice(files, count)) for name, count in counts.items()}
    if "all" in parts:
        test, rest = _take(parts["all"], cfg.test_fraction, rng)
        val, train = _take(rest, cfg.val_fraction / (1 - cfg.test_fraction), rng)
        return classes, {"train": train, "val": val, "test": test}
    train = parts["train"]
    if "val" in parts and "test" in parts:
        return classes, {"train": train, "val": parts["val"], "test": parts["test"]}
    test = parts.get("test", parts.get("val", []))
    if not test:
        test, train = _take(train, cfg.test_fraction, rng)
    val, train = _take(train, cfg.val_fraction, rng)
    return classes, {"train": train, "val": val, "test": test}


def _scan(root: Path) -> tuple[list[str], Listing, dict[str, int]]:
    """Class names, all files, and how many of them, in this order, are of each part."""
    left = LeftOut(root)
    found = layout.find(root, left)
    first = found.get("train", found.get("all", {}))
    if len(first) < 2:
        raise InputError(
            f"{root}: {len(first)} sub-folders; a data set has one for each of its classes, "
            "at least two, with images in it"
        )
    for name, classes in found.items():
        if list(classes) != list(first):
            odd = sorted(classes.keys() ^ first.keys())
            raise InputError(
                f"{root}: the classes of the {name} split are not those of the train split: "
                f"only one of them has {', '.join(odd[:5])}"
            )
    parts = {name: _files(classes, left) for name, classes in found.items()}
    left.report()
    everything = [entry for files in parts.values() for entry in files]
    counts = {name: len(files) for name, files in parts.items()}
    return [printable(name) for name in first], everything, counts


def _files(classes: layout.Classes, left: LeftOut) -> Listing:
    """The pictures of each class folder and of the folders in it, sorted."""
    files: Listing = []
    for label, folder in enumerate(classes.values()):
        found = sorted(path for path in files_below(folder, left) if left.picture(path))
        if not found:
            raise InputError(f"{folder}: no images; known are {known()}")
        files += [(path, label) for path in found]
    return files


def _take(files: Listing, fraction: float, rng: np.random.Generator) -> tuple[Listing, Listing]:
    """Takes ``fraction`` of each class (at least one image of two); returns taken, left."""
    labels = np.array([label for _, label in files])
    taken: set[int] = set()
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = max(1, round(len(members) * fraction)) if len(members) > 1 else 0
        taken.update(int(index) for index in members[: min(count, len(members) - 1)])
    return (
        [entry for index, entry in enumerate(files) if index in taken],
        [entry for index, entry in enumerate(files) if index not in taken],
    )


def _channels(paths: Sequence[Path], size: int) -> int:
    """1 if about thirty images, evenly spread, are all gray, otherwise 3."""
    picks = {round(place) for place in np.linspace(0, len(paths) - 1, 32)}
    try:
        return 1 if all(is_gray(paths[index]) for index in sorted(picks)) else 3
    except UnreadableImage as error:
        raise together(damaged(paths[:MOST_DECODED], Decoder(size, 3)) or [error]) from None


def _digest(root: Path, parts: dict[str, Listing], facts: tuple[Any, ...]) -> str:
    total = sum(path.stat().st_size for files in parts.values() for path, _ in files)
    digest = hashlib.sha256(repr(facts).encode())
    for name, files in parts.items():
        for path, label in files:
            line = f"{name}\0{label}\0{path.relative_to(root).as_posix()}\0{path.stat().st_size}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
            if total <= HASH_BYTES:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
