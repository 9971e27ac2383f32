"""A folder of images with one sub-folder per class, with or without given splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.base.errors import InputError
from tvmkd.base.images import known
from tvmkd.base.known_files import KnownFiles
from tvmkd.base.text import printable
from tvmkd.base.walk import files_below
from tvmkd.data import decoded, layout
from tvmkd.data.fractions import Listing, divide
from tvmkd.data.left_out import LeftOut
from tvmkd.data.splits import Splits

if TYPE_CHECKING:
    from tvmkd.config import Data

HASH_BYTES = 4 << 30  # up to this size the data hash covers file contents, not only sizes


def load_folder(cfg: Data) -> Splits:
    """Loads the images under ``cfg.path``, which has one of two layouts.

    ``path/train/CLASS/*`` and ``path/test/CLASS/*``, optionally with ``path/val/CLASS/*``: if only
    one of ``val`` and ``test`` exists, it becomes the test split, and a validation split is taken
    from ``train``. Or ``path/CLASS/*``: each class is split by the fractions, with ``split_seed``.
    Other names of the splits and other ways to nest the folders are known, too, see `layout.find`.
    Links are followed; hidden files, and files that are no pictures, are counted in one line.
    Images are scaled until the shorter side fits, then cropped at the centre. Files that were read
    by an earlier run and have not changed since are not hashed again, see `KnownFiles`.

    Raises:
        InputError: no such folder, fewer than two classes, an empty class or split, splits with
            different classes, or images that cannot be read (the message names the files).
    """
    assert cfg.path is not None
    root = cfg.path
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; set [data] path")
    classes, found = _scan(root)
    parts = divide(cfg, found)
    every = [path for files in parts.values() for path, _ in files]
    files = KnownFiles(root)

    def digest(facts: tuple[int, int]) -> str:
        files.add(every)
        found = _digest(root, parts, facts, files)
        files.save()
        return found

    return decoded.make_splits(cfg, classes, parts, digest, lambda: files.new(every))


def _scan(root: Path) -> tuple[list[str], dict[str, list[tuple[Path, int]]]]:
    """Class names, and the files of each part of the layout."""
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
    return [printable(name) for name in first], parts


def _files(classes: layout.Classes, left: LeftOut) -> list[tuple[Path, int]]:
    """The pictures of each class folder and of the folders in it, sorted."""
    files: list[tuple[Path, int]] = []
    for label, folder in enumerate(classes.values()):
        inside = [path for path in files_below(folder, left) if left.picture(path)]
        if not inside:
            raise InputError(f"{folder}: no images; known are {known()}")
        files += [(path, label) for path in sorted(inside, key=lambda path: path.parts)]
    return files


def _digest(
    root: Path, parts: Mapping[str, Listing[Path]], facts: tuple[int, int], known_files: KnownFiles
) -> str:
    every = [path for files in parts.values() for path, _ in files]
    whole = known_files.total(every) <= HASH_BYTES
    hashes = iter(known_files.hashes(every) if whole else ())
    digest = hashlib.sha256(repr(facts).encode())
    for name, files in parts.items():
        for path, label in files:
            size = known_files.facts(path)[0]
            line = f"{name}\0{label}\0{path.relative_to(root).as_posix()}\0{size}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
            if whole:
                digest.update(next(hashes))
    return digest.hexdigest()
