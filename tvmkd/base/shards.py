"""The tar files of a WebDataset: a folder of them, one, or a path with braces."""

from __future__ import annotations

import hashlib
from itertools import islice
from pathlib import Path

from tvmkd.base.errors import InputError, MissingError
from tvmkd.base.walk import files_below

NAMES = "classes.txt"  # beside the first shard: a class's name in each line
MOST = 100_000  # shards that a path with braces may name
INSTALL = "pip install 'tvmkd[data]'"


def has_braces(path: Path) -> bool:
    """True for ``data/{train,val}-{000..031}.tar``."""
    return "{" in str(path)


def listed(path: Path) -> list[Path]:
    """The shards that a path names, sorted; hidden files are left out.

    Args:
        path: a folder with ``.tar`` files at any depth, one of them, or a path with braces, which
            are expanded as in a shell.

    Raises:
        InputError: there are none, one is missing, or one is compressed.
        MissingError: braces, without the package that expands them.
    """
    if has_braces(path):
        found = [Path(name) for name in _expanded(str(path))]
    elif path.is_dir():
        files = sorted(files_below(path), key=lambda file: file.parts)
        found = [file for file in files if file.suffix.lower() == ".tar" or _compressed(file)]
    else:
        found = [path]
    gone = [file for file in found if not file.is_file()]
    if gone:
        more = f" ({len(gone)} of {len(found)} shards are missing)" if len(found) > 1 else ""
        raise InputError(f"{gone[0]}: there is no such file or folder{more}; set [data] path")
    if not found:
        raise InputError(f"{path}: holds no .tar file; set [data] path to a folder of shards")
    packed = [file for file in found if _compressed(file)]
    if packed:
        raise InputError(
            f"{packed[0]}: is compressed, and its images cannot be read in any order; unpack it to "
            "a plain .tar (pictures are compressed already)"
        )
    return found


def listing_hash(path: Path) -> str | None:
    """A hash of the names, sizes and times of the shards and `NAMES`; None where there are none.

    Raises:
        MissingError: as `listed`.
    """
    try:
        shards = listed(path)
    except InputError:
        return None
    digest = hashlib.sha256()
    names = shards[0].parent / NAMES
    for shard in [*shards, *([names] if names.is_file() else [])]:
        facts = shard.stat()
        line = f"{shard}\0{facts.st_size}\0{facts.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _compressed(path: Path) -> bool:
    return path.name.lower().endswith((".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst"))


def _expanded(text: str) -> list[str]:
    try:
        from braceexpand import braceexpand
    except ImportError:
        raise MissingError(f"{text}: braces need the package braceexpand: {INSTALL}") from None
    try:
        found = sorted(islice(braceexpand(text), MOST + 1))
    except ValueError:
        raise InputError(f"{text}: a brace is not closed; write {{000..031}}") from None
    if len(found) > MOST:
        raise InputError(f"{text}: names more than {MOST} shards; write a shorter range")
    return found
