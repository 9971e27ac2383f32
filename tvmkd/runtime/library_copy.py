"""A path of its own for each library that this process loads.

``dlopen`` knows a library by its path and its inode: where a file was replaced since it was loaded,
the older code is returned. And a file that is overwritten in place changes under the code that runs
from it. So a library is loaded from a copy, named by its SHA-256, in a temporary folder of this
process. The same content is copied once: TVM keeps a library until the process ends.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tvmkd.base import resources
from tvmkd.base.errors import InputError

PREFIX = "tvmkd-loaded-"

_lock = threading.Lock()
_copies: dict[str, Path] = {}  # by SHA-256
_folders: dict[tuple[Path, int], Path] = {}  # by where they lie, and the process id
_in_place: dict[Path, str] = {}  # SHA-256 of the libraries that were loaded without a copy


def library_copy(library: Path) -> tuple[Path, str]:
    """Copies a library; returns the path to load it from, and the SHA-256 of what lies there.

    Where no folder can be written, that is the library's own path, once.

    Raises:
        OSError: the library cannot be read.
        InputError: no folder can be written, and another library was loaded from this path.
    """
    with _lock:
        for place in _places():
            with library.open("rb") as source, contextlib.suppress(OSError):
                return _copied(source.fileno(), _own_folder(place))
        digest = hashlib.sha256(library.read_bytes()).hexdigest()
        path = library.resolve()
        if _in_place.setdefault(path, digest) != digest:
            raise InputError(
                f"{library}: this process has loaded another library from this path, and there is "
                "no folder to load a copy from; set TMPDIR to a folder that can be written, or "
                "start a new process"
            )
        return path, digest


def _places() -> Iterator[Path]:
    """The folders where copies may lie: a mount without execution cannot hold code."""
    with contextlib.suppress(OSError):
        yield Path(tempfile.gettempdir())
    with contextlib.suppress(OSError, RuntimeError):
        cache = resources.cache("loaded")
        cache.mkdir(parents=True, exist_ok=True)
        yield cache


def _copied(source: int, folder: Path) -> tuple[Path, str]:
    digest = hashlib.sha256()
    written = folder / f".{threading.get_ident()}"
    try:
        # Hashing takes longer than copying, so the two run side by side.
        with written.open("xb") as copy, ThreadPoolExecutor(1) as side:
            while chunk := os.read(source, 4 << 20):
                hashed = side.submit(digest.update, chunk)
                copy.write(chunk)
                hashed.result()
        name = digest.hexdigest()
        known = _copies.get(name)
        if known is None or not known.is_file():
            known = _copies[name] = written.replace(folder / f"{name}.so")
        return known, name
    finally:
        with contextlib.suppress(OSError):
            written.unlink()


def _own_folder(place: Path) -> Path:
    """This process's folder of copies in ``place``; those of ended processes are removed.

    Raises:
        OSError: it cannot be made there, or cannot hold code.
    """
    key = (place, os.getpid())
    if key not in _folders or not _folders[key].is_dir():
        if os.statvfs(place).f_flag & getattr(os, "ST_NOEXEC", 0):
            raise OSError(f"{place}: mounted without execution")
        for folder in place.glob(f"{PREFIX}*"):
            _remove_if_left(folder)
        # Only its owner can write there, so nobody else can put code in it.
        _folders[key] = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place))
        atexit.register(_remove, _folders[key], os.getpid())
    return _folders[key]


def _remove_if_left(folder: Path) -> None:
    """Removes the folder of a process that has ended without removing it."""
    pid = folder.name.removeprefix(PREFIX).partition("-")[0]
    if pid.isdigit():
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass


def _remove(folder: Path, pid: int) -> None:
    if os.getpid() == pid:  # not in a child that was forked
        shutil.rmtree(folder, ignore_errors=True)
