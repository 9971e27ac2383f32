"""Hashes of many files, remembered from run to run by size and times."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tvmkd.base import files, resources
from tvmkd.base.errors import InputError

# A file that is written twice within a tick of the clock keeps its time: so young a one is not
# remembered, as git does.
_YOUNG_NS = 2_000_000_000

Facts = tuple[int, int, int]
"""Size in bytes, time of the last change of the content and of the inode, in nanoseconds."""


class KnownFiles:
    """What is known of the files below a folder: that they were read, and perhaps their hashes.

    A file is known while its size, its ``mtime`` and its ``ctime`` are the same. What is known is
    kept in ``$XDG_CACHE_HOME/tvmkd/files``; without it everything is read again.

    Args:
        root: the folder, or any path that names the set of files.
    """

    def __init__(self, root: Path) -> None:
        name = hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()[:24]
        self._path = resources.cache("files") / f"{name}.json"
        self._root = str(root)
        self._facts: dict[str, Facts] = {}
        self._known = self._read()
        self._changed = False

    def facts(self, path: Path) -> Facts:
        """The size and the times of a file, looked up once.

        Raises:
            OSError: there is no such file.
        """
        name = self._name(path)
        found = self._facts.get(name)
        if found is None:
            stat = path.stat()
            found = self._facts[name] = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        return found

    def total(self, paths: Iterable[Path]) -> int:
        """The size of all files together, bytes."""
        return sum(self.facts(path)[0] for path in paths)

    def new(self, paths: Iterable[Path]) -> list[Path]:
        """The files that are not known, or have changed since."""
        return [path for path in paths if self._entry(path) is None]

    def add(self, paths: Iterable[Path]) -> None:
        """From now on these files are known."""
        for path in paths:
            if self._entry(path) is None:
                self._remember(path, "")

    def hashes(self, paths: Sequence[Path]) -> list[bytes]:
        """The SHA-256 of each file, 32 bytes; only files without a known one are read.

        Raises:
            OSError: one cannot be read.
        """
        missing = [path for path in paths if not self._entry(path)]
        with ThreadPoolExecutor(thread_name_prefix="tvmkd-hash") as pool:
            made = dict(zip(missing, pool.map(files.sha256, missing), strict=True))
        for path, digest in made.items():
            self._remember(path, digest)
        return [bytes.fromhex(made.get(path) or self._entry(path) or "") for path in paths]

    def summary(self, root: Path, paths: Sequence[Path], limit: int) -> Iterator[bytes]:
        """What a hash of a data set is made of: names and sizes, then each file's SHA-256.

        Args:
            root: names are relative to it.
            limit: bytes in all, above which only names and sizes are given.

        Raises:
            OSError: a file cannot be read.
        """
        for path in paths:
            line = f"{path.relative_to(root)}\0{self.facts(path)[0]}\n"
            yield line.encode("utf-8", "surrogateescape")
        if self.total(paths) <= limit:
            yield from self.hashes(paths)

    def save(self) -> None:
        """Keeps what is known for the next run, where the cache can be written."""
        if not self._changed:
            return
        with contextlib.suppress(OSError, InputError):
            # Files that were not asked for are gone.
            kept = {name: entry for name, entry in self._known.items() if name in self._facts}
            text = json.dumps(kept, separators=(",", ":"))
            files.write_bytes(self._path, text.encode("ascii"))
            self._changed = False

    def _entry(self, path: Path) -> str | None:
        """The hash of a known file, empty if only that it was read is known; None: not known."""
        found = self._known.get(self._name(path))
        if found is None or found[:3] != self.facts(path):
            return None
        return found[3]

    def _name(self, path: Path) -> str:
        """The same from whatever folder tvmkd is started in."""
        return str(path).removeprefix(self._root)

    def _remember(self, path: Path, digest: str) -> None:
        size, modified, changed = self.facts(path)
        if max(modified, changed) < time.time_ns() - _YOUNG_NS:
            self._known[self._name(path)] = (size, modified, changed, digest)
            self._changed = True

    def _read(self) -> dict[str, tuple[int, int, int, str]]:
        try:
            found = json.loads(self._path.read_bytes())
            return {
                str(name): (int(size), int(modified), int(changed), str(digest))
                for name, (size, modified, changed, digest) in found.items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
