"""A cache of bytes by key in a folder that processes share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from pathlib import Path

LIMIT = 256 << 20
"""Bytes that a cache may hold."""

_DIGEST = hashlib.sha256().digest_size
_ABANDONED = 3600.0  # seconds after which an unfinished file counts as left by a dead process


class BlobCache:
    """Values of which any may be gone or damaged: it is then as if they had never been stored.

    Each file begins with the SHA-256 of the rest, so a torn or changed one is found. Files are
    renamed into place, so two processes can store the same key. A cache that cannot be written
    stores nothing.

    Args:
        folder: made when something is stored.
        limit: bytes; see `trim`.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self._folder, self._limit = folder, limit

    def get(self, key: str) -> bytes | None:
        """The value of ``key``, or None. A damaged file is removed."""
        path = self._folder / key
        try:
            data = path.read_bytes()
        except OSError:
            return None
        value = data[_DIGEST:]
        with contextlib.suppress(OSError):
            if hashlib.sha256(value).digest() == data[:_DIGEST]:
                os.utime(path)  # used now: see `trim`
                return value
            path.unlink()
        return None

    def put(self, key: str, value: bytes) -> None:
        """Stores a value; ``key`` is a file name."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".", dir=self._folder)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(hashlib.sha256(value).digest() + value)
                Path(name).replace(self._folder / key)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    def trim(self) -> None:
        """Removes the values that were not used for longest if all are larger than the limit."""
        found = []
        with contextlib.suppress(OSError):
            for entry in os.scandir(self._folder):
                with contextlib.suppress(FileNotFoundError):  # another process removes files too
                    facts = entry.stat()
                    if not entry.name.startswith("."):
                        found.append((facts.st_mtime, facts.st_size, entry.path))
                    elif time.time() - facts.st_mtime > _ABANDONED:
                        os.unlink(entry.path)
            total = sum(size for _, size, _ in found)
            if total <= self._limit:
                return
            for _, size, path in sorted(found):
                if total <= self._limit * 3 // 4:  # room for some builds
                    break
                Path(path).unlink(missing_ok=True)
                total -= size
