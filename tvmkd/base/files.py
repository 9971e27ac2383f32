"""Writes files in one step, and hashes files and folders."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tvmkd.base.errors import InputError, unwritable
from tvmkd.base.version import __version__
from tvmkd.base.walk import files_below


def check_output(path: Path, *, folder: bool = False, replaced: bool = False) -> None:
    """Makes sure that a file or folder can be written at ``path``; call it before any long work.

    Args:
        path: what will be written; its folder need not exist.
        folder: it is a folder.
        replaced: the folder is written beside ``path`` and then takes its place.

    Raises:
        InputError: something else lies there (`check_replaceable`), or a folder cannot be made or
            written.
    """
    try:
        if not folder:
            check_replaceable(path)
        elif path.is_symlink() and (replaced or not path.is_dir()):
            raise _in_the_way(path, "a symbolic link")
        elif path.exists() and not path.is_dir():
            raise _in_the_way(path, "a file, and a folder is needed")
        place = path if folder and not replaced else path.parent
        while not place.exists() and not place.is_symlink():
            place = place.parent
        # Nothing but a write shows what a mount allows: it may be read-only, or a network's.
        with tempfile.TemporaryFile(dir=place):
            pass
        with contextlib.suppress(FileNotFoundError):  # else the name is too long
            (place / f".{path.name}.{os.getpid()}.tmp.npz").stat()
    except OSError as error:
        raise unwritable(error, path) from None


def check_replaceable(path: Path) -> None:
    """Makes sure that a file may take the place of what lies at ``path``.

    A device, a pipe or a socket would be gone for every other program, and what a link leads to is
    not what was named.

    Raises:
        InputError: something lies there that is no file of its own, or a file that must not be
            written.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:  # nothing is there, or writing will say why not
        return
    if not stat.S_ISREG(mode):
        raise _in_the_way(path, _KINDS.get(stat.S_IFMT(mode), "no file"))
    if not os.access(path, os.W_OK):
        raise InputError(
            f"{path}: is write-protected; give another path, or allow writing: chmod u+w {path}"
        )


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def _in_the_way(path: Path, what: str) -> InputError:
    return InputError(f"{path}: is {what}, and is not replaced; give another path")


@contextlib.contextmanager
def draft(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """A temporary name beside ``path``: the block writes there, and then the file gets its name.

    Readers see the older file or the new one, never half of it, and after a power cut too. Where
    the block fails, the temporary file is removed and an older file stays.

    Args:
        path: the file to write; its folder is made where it is missing.
        suffix: of the temporary name, for libraries that append theirs where it is missing.

    Raises:
        InputError: the file cannot be written, the disk is full, or what lies there is not to be
            replaced (`check_replaceable`).
    """
    check_replaceable(path)
    written = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield written
        sync(written)
        written.replace(path)
    except OSError as error:
        # The block may also read other files; their errors keep their names.
        ours = {str(place) for place in (written, path, *path.parents)}
        if error.filename is not None and str(error.filename) not in ours:
            raise
        raise unwritable(error, path) from None
    finally:
        with contextlib.suppress(OSError):
            written.unlink()


def sync(path: Path) -> None:
    """Has the kernel write a file to the disk: a rename may reach it before the content does."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Writes a file with `draft`."""
    with draft(path) as written:
        written.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text with `draft`; names of files keep bytes that are no UTF-8."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def read_text(path: Path) -> str:
    """Reads UTF-8 text, with or without a byte-order mark.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is no UTF-8.
    """
    return path.read_text(encoding="utf-8-sig")


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as indented JSON with `draft`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    _add(digest, path)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, path: Path) -> None:
    """Adds a file's bytes to a hash, without holding them all in memory."""
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's files and their names; hidden files do not count."""
    digest = hashlib.sha256()
    paths = [path]
    if path.is_dir():
        paths = sorted(item for item in path.rglob("*") if item.is_file())
    for item in paths:
        if item.name.startswith("."):
            continue
        digest.update(f"{item.relative_to(path)}\0".encode("utf-8", "surrogateescape"))
        _add(digest, item)
    return digest.hexdigest()


def listing_hash(folder: Path | None) -> str | None:
    """A hash of the names, sizes and times of a data folder's files, None where it is missing.

    Links to folders are followed and hidden files left out, as where the data is read. Hashing
    every image's content would take long.
    """
    if folder is None or not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(files_below(folder)):
        facts = path.stat()
        line = f"{path.relative_to(folder)}\0{facts.st_size}\0{facts.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def source_hash(spec: str, search_in: Sequence[Path] = ()) -> str | None:
    """The hash of the user's file that defines a ``module:callable``, None where there is none.

    Args:
        spec: a model, as in the config.
        search_in: folders to search after the current one.
    """
    module, _, attribute = spec.partition(":")
    if not attribute or module == "torchvision":
        return None
    name = module.replace(".", "/")
    for folder in (Path(), *search_in):
        for path in (folder / f"{name}.py", folder / name / "__init__.py"):
            if path.is_file():
                return file_hash(path)
    return None


def key(stage: str, **reads: Any) -> str:
    """A hash that changes with everything that a stage reads, tvmkd's version included.

    Args:
        stage: the stage's name.
        reads: JSON-safe values, and the hashes of files.
    """
    text = json.dumps({"stage": stage, "tvmkd": __version__, **reads}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
