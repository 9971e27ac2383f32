"""Files and folders: writing them in one step, and hashing what is in them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tvmkd.base.version import __version__


@contextlib.contextmanager
def draft(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """A temporary name beside ``path``, which gets its own at the end, or goes where that fails.

    Args:
        suffix: of the temporary name, for libraries that add theirs where it is missing.
    """
    written = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
    try:
        yield written
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as JSON to a temporary name, then gives it its own."""
    with draft(path) as written, written.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=2)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's files by name (hidden ones left out)."""
    digest = hashlib.sha256()
    paths = [path]
    if path.is_dir():
        paths = sorted(item for item in path.rglob("*") if item.is_file())
    for item in paths:
        if item.name.startswith("."):
            continue
        digest.update(f"{item.relative_to(path)}\0".encode())
        with item.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def listing_hash(folder: Path | None) -> str | None:
    """A hash of a data folder's names, sizes and times: reading every image would take long."""
    if folder is None or not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            facts = path.stat()
            name = path.relative_to(folder)
            digest.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def source_hash(spec: str, search_in: Sequence[Path] = ()) -> str | None:
    """The hash of the file behind a ``module:callable``, None where there is none of the user's.

    Args:
        spec: a model as in the config.
        search_in: folders to look in besides the current one.
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
    """The hash of everything that a stage reads: JSON-safe values, and hashes of its files."""
    text = json.dumps({"stage": stage, "tvmkd": __version__, **reads}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
