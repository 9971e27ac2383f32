"""A WebDataset: tar files of images and their labels, read in any order."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.base import shards
from tvmkd.base.errors import InputError
from tvmkd.base.files import read_text
from tvmkd.base.known_files import KnownFiles
from tvmkd.data import class_labels, decoded, tar_index
from tvmkd.data.folder import HASH_BYTES
from tvmkd.data.fractions import Listing, divide
from tvmkd.data.left_out import LeftOut
from tvmkd.data.split_names import Split, assign, split_of, within
from tvmkd.data.splits import Splits
from tvmkd.data.tar_index import Label, Member

if TYPE_CHECKING:
    from tvmkd.config import Data


def load_webdataset(cfg: Data) -> Splits:
    """Loads the samples in the shards that ``cfg.path`` names, see `tvmkd.base.shards.listed`.

    A sample is an image and its label of the same name: ``.cls`` (a number), ``.txt`` (a name or a
    number) or ``.json`` (one of `tar_index.KEYS`). The names of shards and of their folders tell
    the split (``imagenet-train-0001.tar``, ``val/0001.tar``); without such names each class is
    split by the fractions, with ``split_seed``. The names of numbered classes are read from
    ``classes.txt`` in the first shard's folder. Nothing but images and labels is ever decoded.

    Raises:
        InputError: no shards, one that cannot be read, labels that are no classes, fewer than two
            classes, an empty split, or images that cannot be read (the message names them).
        MissingError: a path with braces, without the extra ``data``.
    """
    assert cfg.path is not None
    where = cfg.path
    listed = shards.listed(where)
    root = Path(os.path.commonpath([shard.parent for shard in listed]))
    samples = dict(zip(listed, tar_index.read_all(listed), strict=True))
    left = LeftOut(where)
    for shard in samples.values():
        left.add(shard.others)
    left.report()
    found: dict[str, list[tuple[Member, Label]]] = {
        name: [entry for path in paths for entry in samples[path].samples]
        for name, paths in _parts(where, root, listed).items()
    }
    if not any(found.values()):
        raise InputError(
            f"{where}: no image in its shards has a label; a sample is an image and a .cls, "
            ".txt or .json of the same name"
        )
    classes, numbered = class_labels.numbered(where, found, _names(listed[0].parent / shards.NAMES))
    parts = divide(cfg, numbered)
    files = KnownFiles(root)

    def digest(facts: tuple[int, int]) -> str:
        files.add(listed)
        made = _digest(root, parts, listed, facts, files)
        files.save()
        return made

    def unread() -> Sequence[Member]:
        new = set(files.new(listed))
        return [item for part in parts.values() for item, _ in part if item.shard in new]

    return decoded.make_splits(cfg, classes, parts, digest, unread)


def _parts(where: Path, root: Path, listed: Sequence[Path]) -> Mapping[str, list[Path]]:
    """The shards of each split, or ``all``."""
    splits = [_split(path.relative_to(root)) for path in listed]
    if not any(splits):
        return {"all": list(listed)}
    if None in splits:
        odd = listed[splits.index(None)]
        raise InputError(
            f"{odd}: belongs to no split, but other shards of {where} do; put train, val or test "
            "into its name, or leave it out"
        )
    found = assign(listed, splits)
    if "train" not in found:
        raise InputError(f"{where}: none of its {len(listed)} shards is of a training split")
    return {str(name): paths for name, paths in found.items()}


def _split(path: Path) -> Split | None:
    """The split that a folder or, failing that, the name of a shard tells."""
    for folder in path.parts[:-1]:
        split = split_of(folder)
        if split:
            return split
    inside = within(path.stem)
    return split_of(path.stem) or (inside[0] if inside else None)


def _names(path: Path) -> list[str]:
    try:
        lines = read_text(path).splitlines()
    except OSError:
        return []
    except UnicodeDecodeError:
        raise InputError(f"{path}: is no UTF-8 text; write a class's name in each line") from None
    return [line.strip() for line in lines if line.strip()]


def _digest(
    root: Path,
    parts: Mapping[str, Listing[Member]],
    listed: Sequence[Path],
    facts: tuple[int, int],
    known: KnownFiles,
) -> str:
    digest = hashlib.sha256(repr(facts).encode())
    for piece in known.summary(root, listed, HASH_BYTES):
        digest.update(piece)
    for name, part in parts.items():
        for item, label in part:
            line = f"{name}\0{label}\0{item.shard.relative_to(root)}\0{item.name}\0{item.size}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
